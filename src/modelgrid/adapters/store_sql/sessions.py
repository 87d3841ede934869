"""Logins that have not ended: digests of their tokens, never the tokens."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from sqlalchemy import Connection, bindparam, delete, select, update

from modelgrid.adapters.store_sql.codec import Decoder, encode
from modelgrid.adapters.store_sql.tables import sessions
from modelgrid.adapters.store_sql.upsert import put as put_row
from modelgrid.domain.access import Session

_decode: Decoder[Session] = Decoder(Session)


def all_of_them(db: Connection) -> tuple[Session, ...]:
    rows = db.execute(select(sessions.c.last_seen_at, sessions.c.body))
    found = (replace(_decode(row.body), last_seen_at=row.last_seen_at) for row in rows)
    return tuple(sorted(found, key=lambda session: (session.created_at, session.id)))


def put(db: Connection, session: Session) -> None:
    values = {
        "id": session.id,
        "user_name": session.user,
        "digest": session.digest,
        "last_seen_at": session.last_seen_at,
        "body": encode(session),
    }
    put_row(db, sessions, values)


def seen(db: Connection, last_seen: Mapping[str, float]) -> None:
    statement = update(sessions).where(sessions.c.id == bindparam("session_id")).values(last_seen_at=bindparam("at"))
    db.execute(statement, [{"session_id": key, "at": last_seen[key]} for key in sorted(last_seen)])


def remove(db: Connection, ids: Collection[str]) -> None:
    db.execute(delete(sessions).where(sessions.c.id.in_(tuple(ids))))


def remove_of(db: Connection, user: str) -> None:
    db.execute(delete(sessions).where(sessions.c.user_name == user))
