"""Small values the daemon keeps for itself."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, select

from modelgrid.adapters.store_sql.tables import settings
from modelgrid.adapters.store_sql.upsert import put as put_row


def get(db: Connection, names: Collection[str]) -> Mapping[str, str]:
    return {row.name: row.value for row in db.execute(select(settings).where(settings.c.name.in_(names)))}


def put(db: Connection, name: str, value: str) -> None:
    put_row(db, settings, {"name": name, "value": value})
