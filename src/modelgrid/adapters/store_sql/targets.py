"""What is desired."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, delete, select, update

from modelgrid.adapters.store_sql import events
from modelgrid.adapters.store_sql.codec import Decoder, encode
from modelgrid.adapters.store_sql.tables import targets
from modelgrid.adapters.store_sql.upsert import insert_into
from modelgrid.domain.errors import NotFound, PreconditionFailed
from modelgrid.domain.event import Event
from modelgrid.domain.target import Target

_decode: Decoder[Target] = Decoder(Target)


def all_of_them(db: Connection) -> tuple[Target, ...]:
    rows = db.execute(select(targets.c.revision, targets.c.body))
    found = (replace(_decode(row.body), revision=row.revision) for row in rows)
    return tuple(sorted(found, key=lambda target: target.name))


def put(db: Connection, target: Target, expected_revision: int | None, facts: Sequence[Event]) -> Target:
    body = encode(target)
    insert = insert_into(db, targets).values(name=target.name, revision=1, body=body)
    if expected_revision is None:
        counted_up = {"revision": targets.c.revision + 1, "body": body}
        statement = insert.on_conflict_do_update(index_elements=["name"], set_=counted_up).returning(targets.c.revision)
        revision = db.execute(statement).scalar_one()
    elif expected_revision == 0:
        statement = insert.on_conflict_do_nothing(index_elements=["name"]).returning(targets.c.revision)
        revision = db.execute(statement).scalar_one_or_none()
    else:
        revision = db.execute(
            update(targets)
            .where(targets.c.name == target.name, targets.c.revision == expected_revision)
            .values(revision=expected_revision + 1, body=body)
            .returning(targets.c.revision)
        ).scalar_one_or_none()
    if revision is None:
        raise PreconditionFailed.at_revision(f"The target '{target.name}'", _revision(db, target.name))
    events.append(db, facts)
    return replace(target, revision=revision)


def remove(db: Connection, name: str, expected_revision: int | None, facts: Sequence[Event]) -> None:
    statement = delete(targets).where(targets.c.name == name)
    if expected_revision is not None:
        statement = statement.where(targets.c.revision == expected_revision)
    if db.execute(statement).rowcount == 0:
        revision = _revision(db, name)
        if revision == 0:
            raise NotFound(f"There is no target '{name}'.", name=name)
        raise PreconditionFailed.at_revision(f"The target '{name}'", revision)
    events.append(db, facts)


def _revision(db: Connection, name: str) -> int:
    return db.execute(select(targets.c.revision).where(targets.c.name == name)).scalar_one_or_none() or 0
