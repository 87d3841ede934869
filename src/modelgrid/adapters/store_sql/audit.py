"""The audit log: appended to, read, let go of from its beginning, and never changed."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, text

from modelgrid.adapters.store_sql import settings
from modelgrid.adapters.store_sql.codec import Decoder, encode
from modelgrid.adapters.store_sql.tables import audit
from modelgrid.domain.audit import AuditCheckpoint, AuditEntry, AuditExtent

_ORDER_LOCK = 0x6D6F64656C677261
"""PostgreSQL advisory lock ("modelgra" in ASCII): one entry after the other."""
CHECKPOINT = "audit_checkpoint"
"""Setting: where the chain begins."""
_checkpoint: Decoder[AuditCheckpoint] = Decoder(AuditCheckpoint)
_FIELDS = tuple(field.name for field in fields(AuditEntry))


def append(
    db: Connection, entries: Sequence[AuditEntry], seal: Callable[[AuditEntry, str], AuditEntry]
) -> tuple[AuditEntry, ...]:
    if db.dialect.name == "postgresql":
        db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ORDER_LOCK})
    newest = db.execute(select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)).one_or_none()
    seq, previous = (newest.seq, newest.hash) if newest else (0, "")
    written = []
    for entry in entries:
        seq += 1
        written.append(seal(replace(entry, seq=seq), previous))
        previous = written[-1].hash
        db.execute(insert(audit).values({name: getattr(written[-1], name) for name in _FIELDS}))
    return tuple(written)


def newest_first(
    db: Connection, before: int | None, limit: int, who: str | None, action: str | None
) -> tuple[AuditEntry, ...]:
    statement = select(audit).order_by(audit.c.seq.desc()).limit(limit)
    if before is not None:
        statement = statement.where(audit.c.seq < before)
    if who is not None:
        statement = statement.where(audit.c.who == who)
    if action is not None:
        statement = statement.where(audit.c.action == action)
    return tuple(_entry(row) for row in db.execute(statement))


def after(db: Connection, seq: int, limit: int) -> tuple[AuditEntry, ...]:
    statement = select(audit).where(audit.c.seq > seq).order_by(audit.c.seq).limit(limit)
    return tuple(_entry(row) for row in db.execute(statement))


def extent(db: Connection, since: float) -> AuditExtent | None:
    oldest, newest = db.execute(select(func.min(audit.c.seq), func.max(audit.c.seq))).one()
    if newest is None:
        return None
    young = db.execute(select(func.min(audit.c.seq)).where(audit.c.at >= since)).scalar_one()
    return AuditExtent(oldest=oldest, newest=newest, young=young)


def prune(db: Connection, through: int, made: Callable[[AuditEntry], AuditCheckpoint]) -> None:
    last = _entry(db.execute(select(audit).where(audit.c.seq == through)).one())
    settings.put(db, CHECKPOINT, encode(made(last)))
    db.execute(delete(audit).where(audit.c.seq <= through))


def checkpoint(db: Connection) -> AuditCheckpoint | None:
    found = settings.get(db, [CHECKPOINT]).get(CHECKPOINT)
    return _checkpoint(found) if found is not None else None


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(**{name: getattr(row, name) for name in _FIELDS})
