"""Nodes that have joined the cluster, and the invitations they came by: digests, never secrets."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, delete, select, update

from modelgrid.adapters.store_sql import events
from modelgrid.adapters.store_sql.codec import Decoder, encode
from modelgrid.adapters.store_sql.tables import join_tokens, members
from modelgrid.adapters.store_sql.upsert import insert_into
from modelgrid.adapters.store_sql.upsert import put as put_row
from modelgrid.domain.cluster import JoinToken, Member
from modelgrid.domain.errors import Conflict, NotFound
from modelgrid.domain.event import Event

_member: Decoder[Member] = Decoder(Member)
_token: Decoder[JoinToken] = Decoder(JoinToken)


def all_of_them(db: Connection) -> tuple[Member, ...]:
    return tuple(_member(row.body) for row in db.execute(select(members.c.body).order_by(members.c.name)))


def put(db: Connection, values: Sequence[Member], facts: Sequence[Event]) -> None:
    for member in values:
        put_row(db, members, {"name": member.name, "body": encode(member)})
    events.append(db, facts)


def join(db: Connection, member: Member, token_id: str, at: float, facts: Sequence[Event]) -> None:
    unused = (join_tokens.c.id == token_id, join_tokens.c.used_at.is_(None), join_tokens.c.expires_at > at)
    row = db.execute(select(join_tokens.c.body).where(*unused)).one_or_none()
    if row is None:
        raise Conflict("The invitation was used, or has expired.", id=token_id)
    used = replace(_token(row.body), used_at=at, used_by=member.name)
    change = update(join_tokens).where(*unused).values(used_at=at, body=encode(used))
    if db.execute(change).rowcount != 1:
        raise Conflict("The invitation was used, or has expired.", id=token_id)
    put(db, [member], facts)


def remove(db: Connection, name: str, facts: Sequence[Event]) -> None:
    if db.execute(delete(members).where(members.c.name == name)).rowcount == 0:
        raise NotFound(f"There is no node '{name}' in the cluster.", name=name)
    events.append(db, facts)


def tokens(db: Connection) -> tuple[JoinToken, ...]:
    found = (_token(row.body) for row in db.execute(select(join_tokens.c.body)))
    return tuple(sorted(found, key=lambda token: (token.created_at, token.id)))


def add_token(db: Connection, token: JoinToken, facts: Sequence[Event]) -> None:
    db.execute(delete(join_tokens).where(join_tokens.c.expires_at < token.created_at - KEPT_SECONDS))
    values = {"id": token.id, "expires_at": token.expires_at, "used_at": token.used_at, "body": encode(token)}
    statement = insert_into(db, join_tokens).values(values).on_conflict_do_nothing()
    if db.execute(statement.returning(join_tokens.c.id)).first() is None:
        raise Conflict(f"An invitation '{token.id}' exists already.", id=token.id)
    events.append(db, facts)


KEPT_SECONDS = 30 * 86_400.0
"""Invitations that have expired are kept so long, to tell who came by them."""
