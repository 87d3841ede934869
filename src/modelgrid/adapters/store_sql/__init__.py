"""The state in one SQL database: SQLite by default, PostgreSQL where several control planes share it."""

from modelgrid.adapters.store_sql.store import SqlStore, open_store

__all__ = ["SqlStore", "open_store"]
