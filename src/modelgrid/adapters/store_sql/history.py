"""Ended deployments."""

from dataclasses import replace

from sqlalchemy import Connection, delete, literal, select, tuple_

from modelgrid.adapters.store_sql import events
from modelgrid.adapters.store_sql.codec import Decoder, encode
from modelgrid.adapters.store_sql.tables import history
from modelgrid.adapters.store_sql.upsert import put as put_row
from modelgrid.domain.engine import LogLine
from modelgrid.domain.errors import NotFound
from modelgrid.domain.history import HistoryRecord

_decode: Decoder[HistoryRecord] = Decoder(HistoryRecord)
_decode_lines: Decoder[tuple[LogLine, ...]] = Decoder(tuple[LogLine, ...])


def put(db: Connection, record: HistoryRecord) -> None:
    values = {
        "deployment_id": record.deployment.id,
        "ended_at": record.ended_at,
        "body": encode(replace(record, last_lines=())),
        "last_lines": encode(record.last_lines),
    }
    put_row(db, history, values)


def forget(db: Connection, deployment_id: str) -> None:
    db.execute(delete(history).where(history.c.deployment_id == deployment_id))


def exists(db: Connection, deployment_id: str) -> bool:
    return db.execute(select(history.c.ended_at).where(history.c.deployment_id == deployment_id)).first() is not None


def newest(db: Connection, limit: int, before: tuple[float, str] | None) -> tuple[HistoryRecord, ...]:
    statement = select(history.c.body).order_by(history.c.ended_at.desc(), history.c.deployment_id.desc()).limit(limit)
    if before is not None:
        place = tuple_(history.c.ended_at, history.c.deployment_id)
        statement = statement.where(place < tuple_(*map(literal, before)))
    return tuple(_decode(row.body) for row in db.execute(statement))


def one(db: Connection, deployment_id: str) -> HistoryRecord:
    statement = select(history.c.body, history.c.last_lines).where(history.c.deployment_id == deployment_id)
    row = db.execute(statement).one_or_none()
    if row is None:
        raise NotFound(
            f"There is no record of a deployment '{deployment_id}'.",
            fix="`modelgrid ps` lists those that there are, `modelgrid container history` those that have ended.",
            id=deployment_id,
        )
    return replace(_decode(row.body), last_lines=_decode_lines(row.last_lines))


def prune(db: Connection, keep: int, events_before: float) -> None:
    newest_ids = (
        select(history.c.deployment_id)
        .order_by(history.c.ended_at.desc(), history.c.deployment_id.desc())
        .limit(keep)
        .scalar_subquery()
    )
    db.execute(delete(history).where(history.c.deployment_id.not_in(newest_ids)))
    events.prune(db, events_before)
