"""What the tables of API keys and of access tokens have in common."""

from collections.abc import Mapping

from sqlalchemy import Connection, Table, bindparam, or_, update


def revoke(db: Connection, table: Table, row_id: str, at: float) -> bool:
    """Revoke once; return whether this was the time."""
    statement = update(table).where(table.c.id == row_id, table.c.revoked_at.is_(None)).values(revoked_at=at)
    return db.execute(statement).rowcount > 0


def touch(db: Connection, table: Table, last_used: Mapping[str, float]) -> None:
    """Advance `last_used_at` by id, never backwards; unknown ids are ignored."""
    older = or_(table.c.last_used_at.is_(None), table.c.last_used_at < bindparam("at"))
    statement = update(table).where(table.c.id == bindparam("row_id"), older).values(last_used_at=bindparam("at"))
    # In one order for every writer, so that two of them never wait for each other's rows.
    db.execute(statement, [{"row_id": row_id, "at": last_used[row_id]} for row_id in sorted(last_used)])
