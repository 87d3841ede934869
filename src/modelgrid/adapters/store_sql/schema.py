"""Brings a database to the newest schema, or says why it cannot."""

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from modelgrid.adapters.store_sql.engine import WRITE
from modelgrid.adapters.store_sql.tables import SCHEMA_VERSION, VERSION_TABLE, metadata
from modelgrid.domain.errors import InvalidConfig

MIGRATIONS = Path(__file__).parent / "migrations"

_MIGRATION_LOCK = 0x6D6F64656C677264
"""PostgreSQL advisory lock ("modelgrd" in ASCII): one control plane migrates, the others wait for it."""


def ensure_schema(engine: Engine) -> None:
    """Create or migrate the tables as one transaction; do nothing when they are at `SCHEMA_VERSION`. Blocking.

    Raises `InvalidConfig` for a database that a newer ModelGrid wrote, or another program."""
    with engine.connect() as connection:
        if _version(connection) == SCHEMA_VERSION:
            return
    with engine.execution_options(**{WRITE: True}).connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        version = _version(connection)  # again: another process may have migrated while we waited
        if version is None:
            _create(connection)
        elif version != SCHEMA_VERSION:
            _migrate(connection, version)
        connection.commit()


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()  # noqa: S608  # our constant


def _create(connection: Connection) -> None:
    """Make the tables where there are none: what every migration after the other leads to, as the tests check."""
    theirs = sorted(metadata.tables.keys() & set(inspect(connection).get_table_names()))
    if theirs:
        raise InvalidConfig(
            f"The state database has tables of somebody else under names that ModelGrid needs: {', '.join(theirs)}.",
            fix="Give ModelGrid a database of its own.",
            tables=theirs,
        )
    metadata.create_all(connection, checkfirst=False)
    column = f"version_num VARCHAR(32) NOT NULL, CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num)"
    connection.execute(text(f"CREATE TABLE {VERSION_TABLE} ({column})"))  # as alembic makes it
    connection.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES (:version)"), {"version": SCHEMA_VERSION})  # noqa: S608


def _migrate(connection: Connection, version: str) -> None:
    # Slow to import and large, and needed only after an upgrade: other starts do without.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version not in known:
        raise InvalidConfig(
            f"The state database has schema {version}, which this version of ModelGrid does not know "
            f"(it knows up to {SCHEMA_VERSION}).",
            fix="Run the newer ModelGrid that wrote it, or restore the backup made before that upgrade.",
            schema=version,
            newest_known=SCHEMA_VERSION,
        )
    command.upgrade(config, "head")
