"""Tokens of the console API: digests, never secrets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, select

from modelgrid.adapters.store_sql import credentials, events
from modelgrid.adapters.store_sql.codec import Decoder, encode
from modelgrid.adapters.store_sql.tables import access_tokens
from modelgrid.adapters.store_sql.upsert import insert_into
from modelgrid.domain.access import AccessToken
from modelgrid.domain.errors import Conflict, NotFound
from modelgrid.domain.event import Event

_decode: Decoder[AccessToken] = Decoder(AccessToken)


def all_of_them(db: Connection) -> tuple[AccessToken, ...]:
    found = (_token(row) for row in db.execute(select(access_tokens)))
    return tuple(sorted(found, key=lambda token: (token.created_at, token.id)))


def add(db: Connection, token: AccessToken, facts: Sequence[Event]) -> None:
    statement = insert_into(db, access_tokens).values(id=token.id, digest=token.digest, body=encode(token))
    if db.execute(statement.on_conflict_do_nothing().returning(access_tokens.c.id)).first() is None:
        raise Conflict(f"A token '{token.id}', or one with the same secret, exists already.", id=token.id)
    events.append(db, facts)


def revoke(db: Connection, token_id: str, at: float, facts: Sequence[Event]) -> AccessToken:
    if credentials.revoke(db, access_tokens, token_id, at):
        events.append(db, facts)
    row = db.execute(select(access_tokens).where(access_tokens.c.id == token_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no token '{token_id}'.", id=token_id)
    return _token(row)


def touch(db: Connection, last_used: Mapping[str, float]) -> None:
    credentials.touch(db, access_tokens, last_used)


def _token(row: Row[Any]) -> AccessToken:
    return replace(_decode(row.body), revoked_at=row.revoked_at, last_used_at=row.last_used_at)
