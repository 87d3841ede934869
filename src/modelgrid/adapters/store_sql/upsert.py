"""INSERT … ON CONFLICT, which both databases have with the same words and SQLAlchemy only per dialect."""

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_into(db: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(table) if db.dialect.name == "postgresql" else sqlite.insert(table)


def put(db: Connection, table: Table, values: dict[str, object]) -> None:
    """Insert a row, or replace all columns of the one with the same primary key."""
    key = [column.name for column in table.primary_key]
    statement = insert_into(db, table).values(values)
    changed = {name: statement.excluded[name] for name in values if name not in key}
    db.execute(statement.on_conflict_do_update(index_elements=key, set_=changed))
