"""Deployments that are not yet removed, and their way into history."""

from collections.abc import Sequence
from dataclasses import replace
from sys import intern

from sqlalchemy import Connection, delete, select, update

from modelgrid.adapters.store_sql import events, history
from modelgrid.adapters.store_sql.codec import Decoder, encode
from modelgrid.adapters.store_sql.tables import deployments
from modelgrid.adapters.store_sql.upsert import insert_into
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.errors import Conflict
from modelgrid.domain.event import Event
from modelgrid.domain.history import HistoryRecord
from modelgrid.domain.ids import GpuId, NodeName
from modelgrid.domain.placement import Decision

_decode: Decoder[Deployment] = Decoder(Deployment)


def all_of_them(db: Connection) -> tuple[Deployment, ...]:
    """Oldest first."""
    rows = db.execute(
        select(deployments.c.revision, deployments.c.body).order_by(deployments.c.created_at, deployments.c.id)
    )
    return tuple(_kept(replace(_decode(row.body), revision=row.revision)) for row in rows)


def save(db: Connection, deployment: Deployment, facts: Sequence[Event]) -> Deployment:
    saved = replace(deployment, revision=deployment.revision + 1)
    values = {"revision": saved.revision, "created_at": saved.created_at, "body": encode(saved)}
    if deployment.revision == 0:
        insert = insert_into(db, deployments).values(id=saved.id, **values).on_conflict_do_nothing()
        written = db.execute(insert.returning(deployments.c.id)).first()
    else:
        at_its_revision = (deployments.c.id == saved.id, deployments.c.revision == deployment.revision)
        change = update(deployments).where(*at_its_revision).values(values)
        written = db.execute(change.returning(deployments.c.id)).first()
    if written is None:
        raise _changed_meanwhile(db, deployment)
    events.append(db, facts)
    return saved


def archive(db: Connection, record: HistoryRecord, facts: Sequence[Event]) -> None:
    """The row decides: with it gone and a record there, an earlier call has done all of this already."""
    deployment_id = record.deployment.id
    gone = db.execute(delete(deployments).where(deployments.c.id == deployment_id)).rowcount == 0
    if gone and history.exists(db, deployment_id):
        return
    history.put(db, record)
    events.append(db, facts)


def _kept(deployment: Deployment) -> Deployment:
    """Return it with the texts of its verdicts shared: they name the same nodes, GPUs and reasons over and over, and
    were half of the memory of a deployment that was read."""
    placement, refusal = deployment.placement, deployment.refusal
    if placement is not None:
        placement = replace(placement, decision=_shared(placement.decision))
    return replace(deployment, placement=placement, refusal=refusal and _shared(refusal))


def _shared(decision: Decision) -> Decision:
    verdicts = tuple(
        replace(
            verdict,
            node=NodeName(intern(verdict.node)),
            gpu=None if verdict.gpu is None else GpuId(intern(verdict.gpu)),
            code=intern(verdict.code),
            reason=intern(verdict.reason),
        )
        for verdict in decision.verdicts
    )
    return replace(decision, verdicts=verdicts)


def _changed_meanwhile(db: Connection, deployment: Deployment) -> Conflict:
    statement = select(deployments.c.revision).where(deployments.c.id == deployment.id)
    revision = db.execute(statement).scalar_one_or_none() or 0
    state = f"is at revision {revision} now" if revision else "does not exist any more"
    return Conflict(
        f"The deployment '{deployment.id}' {state}, not at {deployment.revision}: somebody else wrote it first.",
        fix="Read it again and repeat the change.",
        id=deployment.id,
        revision=revision,
    )
