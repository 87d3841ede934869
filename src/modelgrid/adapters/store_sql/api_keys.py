"""Keys of the data plane: digests, never secrets."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from modelgrid.adapters.store_sql import credentials, events
from modelgrid.adapters.store_sql.codec import Decoder, encode
from modelgrid.adapters.store_sql.tables import api_keys
from modelgrid.adapters.store_sql.upsert import insert_into
from modelgrid.domain.access import ApiKey, KeyLimits
from modelgrid.domain.errors import Conflict, NotFound
from modelgrid.domain.event import Event

_decode_limits: Decoder[KeyLimits] = Decoder(KeyLimits)


def all_of_them(db: Connection) -> tuple[ApiKey, ...]:
    """Oldest first."""
    return tuple(_key(row) for row in db.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)))


def add(db: Connection, key: ApiKey, facts: Sequence[Event]) -> None:
    statement = insert_into(db, api_keys).values(
        id=key.id,
        label=key.label,
        prefix=key.prefix,
        digest=key.digest,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
        limits=encode(key.limits),
    )
    if db.execute(statement.on_conflict_do_nothing().returning(api_keys.c.id)).first() is None:
        raise Conflict(f"An API key '{key.id}', or one with the same secret, exists already.", id=key.id)
    events.append(db, facts)


def revoke(db: Connection, key_id: str, at: float, facts: Sequence[Event]) -> ApiKey:
    if credentials.revoke(db, api_keys, key_id, at):
        events.append(db, facts)
    row = db.execute(select(api_keys).where(api_keys.c.id == key_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no API key '{key_id}'.", id=key_id)
    return _key(row)


def touch(db: Connection, last_used: Mapping[str, float]) -> None:
    credentials.touch(db, api_keys, last_used)


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        label=row.label,
        prefix=row.prefix,
        digest=row.digest,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        limits=_decode_limits(row.limits),
    )
