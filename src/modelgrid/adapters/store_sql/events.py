"""Facts on the timeline."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, and_, delete, insert, select, text, union

from modelgrid.adapters.store_sql.codec import Decoder, encode
from modelgrid.adapters.store_sql.tables import deployments, events, history
from modelgrid.domain.event import Event, Subject

_decode: Decoder[Event] = Decoder(Event)

_ORDER_LOCK = 0x6D6F64656C677265
"""PostgreSQL advisory lock ("modelgre" in ASCII) that makes sequence numbers appear in their order."""

APPENDED = "modelgrid.appended_events"
"""Where a connection notes what its present transaction appended."""


def append(db: Connection, facts: Sequence[Event]) -> tuple[Event, ...]:
    """Call it last in a transaction, after all rows were written.

    PostgreSQL gives out a sequence number before the commit, so 8 could be seen before 7 is there, and a reader
    who asks for what came after 8 would never get 7. The lock is held until the commit, by one writer at a time;
    taken last, it cannot be part of a deadlock with row locks. SQLite has one writer anyway."""
    if not facts:
        return ()
    if db.dialect.name == "postgresql":
        db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ORDER_LOCK})
    stored = tuple(replace(fact, seq=_insert(db, fact)) for fact in facts)
    db.info[APPENDED] = (*db.info.get(APPENDED, ()), *stored)
    return stored


def take_appended(db: Connection) -> tuple[Event, ...]:
    """Return what was appended through this connection since the last time this was asked."""
    stored: tuple[Event, ...] = db.info.pop(APPENDED, ())
    return stored


def _insert(db: Connection, fact: Event) -> int:
    values = {"at": fact.at, "subject": fact.subject.value, "subject_id": fact.subject_id, "body": encode(fact)}
    return int(db.execute(insert(events).values(values).returning(events.c.seq)).scalar_one())


def find(
    db: Connection,
    subject: Subject | None,
    subject_id: str | None,
    after: int,
    before: int | None,
    limit: int,
    newest_first: bool,
) -> tuple[Event, ...]:
    statement = select(events.c.seq, events.c.body).where(events.c.seq > after).limit(limit)
    if before is not None:
        statement = statement.where(events.c.seq < before)
    if subject is not None:
        statement = statement.where(events.c.subject == subject.value)
    if subject_id is not None:
        statement = statement.where(events.c.subject_id == subject_id)
    statement = statement.order_by(events.c.seq.desc() if newest_first else events.c.seq)
    return tuple(replace(_decode(row.body), seq=row.seq) for row in db.execute(statement))


def prune(db: Connection, before: float) -> None:
    """Drop events older than `before` but those of deployments that are live or in history."""
    kept = union(select(deployments.c.id), select(history.c.deployment_id))
    of_kept = and_(events.c.subject == Subject.DEPLOYMENT.value, events.c.subject_id.in_(kept))
    db.execute(delete(events).where(events.c.at < before, ~of_kept))
