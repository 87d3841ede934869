"""The tables as the newest migration leaves them.

A column exists where a query needs it; the value itself is JSON in `body` (see `codec`). A column wins over the
same field inside the body. Times are seconds since the epoch.
"""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, String, Table, Text

SCHEMA_VERSION = "0005"
"""Revision id of the newest migration. Equal means that nothing has to be migrated, and alembic is not loaded."""

VERSION_TABLE = "modelgrid_schema"
"""Where the revision is kept; not alembic's usual name, so that a shared PostgreSQL database is no trouble."""

metadata = MetaData()

targets = Table(
    "targets",
    metadata,
    Column("name", String, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)

deployments = Table(
    "deployments",
    metadata,
    Column("id", String, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("body", Text, nullable=False),
)

history = Table(
    "history",
    metadata,
    Column("deployment_id", String, primary_key=True),
    Column("ended_at", Double, nullable=False),
    Column("body", Text, nullable=False),
    Column("last_lines", Text, nullable=False),
    Index("history_ended_at", "ended_at"),
)

events = Table(
    "events",
    metadata,
    # SQLite counts up by itself only in a column of type INTEGER; AUTOINCREMENT keeps it from reusing numbers.
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("subject", String, nullable=False),
    Column("subject_id", String, nullable=False),
    Column("body", Text, nullable=False),
    Index("events_subject", "subject", "subject_id", "seq"),
    Index("events_at", "at"),
    sqlite_autoincrement=True,
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("label", Text, nullable=False),
    Column("prefix", String, nullable=False),
    Column("digest", String, nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
    Column("limits", Text, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("name", String, primary_key=True),
    Column("body", Text, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String, primary_key=True),
    Column("user_name", String, nullable=False),
    Column("digest", String, nullable=False, unique=True),
    Column("last_seen_at", Double, nullable=False),
    Column("body", Text, nullable=False),
    Index("sessions_user", "user_name"),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("digest", String, nullable=False, unique=True),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
    Column("body", Text, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("who", Text, nullable=False),
    Column("kind", String, nullable=False),
    Column("source", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("repeated", Integer, nullable=False),
    Column("hash", String, nullable=False),
)

node_status = Table(
    "node_status",
    metadata,
    Column("name", String, primary_key=True),
    Column("status", String, nullable=False),
)

members = Table(
    "members",
    metadata,
    Column("name", String, primary_key=True),
    Column("body", Text, nullable=False),
)

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("expires_at", Double, nullable=False),
    Column("used_at", Double),
    Column("body", Text, nullable=False),
)

settings = Table(
    "settings",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
)
