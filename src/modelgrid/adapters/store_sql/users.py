"""People who may log in to the console."""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from modelgrid.adapters.store_sql import events, sessions
from modelgrid.adapters.store_sql.codec import Decoder, encode
from modelgrid.adapters.store_sql.tables import users
from modelgrid.adapters.store_sql.upsert import put as put_row
from modelgrid.domain.access import User
from modelgrid.domain.event import Event

_decode: Decoder[User] = Decoder(User)


def all_of_them(db: Connection) -> tuple[User, ...]:
    found = (_decode(row.body) for row in db.execute(select(users.c.body)))
    return tuple(sorted(found, key=lambda user: user.name))


def put(db: Connection, user: User, ends_sessions: bool, facts: Sequence[Event]) -> None:
    put_row(db, users, {"name": user.name, "body": encode(user)})
    if ends_sessions:
        sessions.remove_of(db, user.name)
    events.append(db, facts)
