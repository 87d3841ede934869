"""INSERT … ON CONFLICT, which both databases have with the same words and SQLAlchemy only per dialect."""

from typing import TYPE_CHECKING

from sqlalchemy import Connection, Table

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite


def insert_into(db: Connection, table: Table) -> "postgresql.Insert | sqlite.Insert":
    # A dialect costs a tenth of a second and a few MB: only the one in use is imported.
    if db.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite  # noqa: PLC0415

    return sqlite.insert(table)


def put(db: Connection, table: Table, values: dict[str, object]) -> None:
    """Insert a row, or replace all columns of the one with the same primary key."""
    key = [column.name for column in table.primary_key]
    statement = insert_into(db, table).values(values)
    changed = {name: statement.excluded[name] for name in values if name not in key}
    db.execute(statement.on_conflict_do_update(index_elements=key, set_=changed))
