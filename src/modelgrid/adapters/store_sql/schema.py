"""Brings a database to the newest schema, or says why it cannot."""

import re
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from modelgrid.adapters.store_sql.copies import copy_database
from modelgrid.adapters.store_sql.engine import WRITE
from modelgrid.adapters.store_sql.tables import SCHEMA_VERSION, VERSION_TABLE, metadata
from modelgrid.domain.errors import InvalidConfig, StorageFull
from modelgrid.domain.units import format_bytes

MIGRATIONS = Path(__file__).parent / "migrations"

_MIGRATION_LOCK = 0x6D6F64656C677264
"""PostgreSQL advisory lock ("modelgrd" in ASCII): one control plane migrates, the others wait for it."""


COPIES_KEPT = 3
"""Copies of a database as it was before a migration; older ones are deleted when the next one is made."""


def known_schemas() -> frozenset[str]:
    """Return every revision that this version can read, by migrating it: those that there are migrations of."""
    return frozenset(path.name.split("_")[1] for path in MIGRATIONS.glob("versions/rev_*.py"))


def too_new(schema: str) -> InvalidConfig:
    """Return the error for a database of a schema that is not known."""
    return InvalidConfig(
        f"The state database has schema {schema}, which this version of ModelGrid does not know "
        f"(it knows up to {SCHEMA_VERSION}).",
        fix="Run the newer ModelGrid that wrote it, or restore the backup made before that upgrade.",
        schema=schema,
        newest_known=SCHEMA_VERSION,
    )


def ensure_schema(engine: Engine) -> None:
    """Create or migrate the tables as one transaction; do nothing when they are at `SCHEMA_VERSION`. Blocking.

    An SQLite database is copied before it is migrated, to a file beside it. Raises `InvalidConfig` for a database that
    a newer ModelGrid wrote, or another program, and `StorageFull` when there is no room for the copy; it is left as it
    was then."""
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
            if version not in known_schemas():
                raise too_new(version)
            if connection.dialect.name == "sqlite":
                _keep_copy(Path(str(engine.url.database)), version)
            _migrate(connection)
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


def _keep_copy(path: Path, schema: str) -> None:
    """Copy the database to `state.db.schema-0003-20260131T235959Z`, and delete all but the newest such copies.

    The caller holds the write lock, so nobody changes it between the copy and the migration."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    copy = path.with_name(f"{path.name}.schema-{schema}-{stamp}")
    copy.unlink(missing_ok=True)  # of a migration that failed within the same second
    try:
        copy_database(path, copy)
    except (StorageFull, OSError) as error:
        raise StorageFull(
            f"The state database {path} was not migrated from schema {schema} to {SCHEMA_VERSION}: there is no room "
            f"for the copy that is made before ({error}).",
            fix=f"Free {format_bytes(path.stat().st_size)} on that disk, or go back to the older ModelGrid: "
            "the database is as it was.",
            database=str(path),
            schema=schema,
        ) from error
    for old in copies_beside(path)[COPIES_KEPT:]:
        old.unlink()


def copies_beside(path: Path) -> list[Path]:
    """Return the copies that were made before migrations of the database `path`, the newest first."""
    form = re.compile(rf"{re.escape(path.name)}\.schema-[0-9]+-([0-9]{{8}}T[0-9]{{6}}Z)")
    found = [(match[1], item) for item in path.parent.iterdir() if (match := form.fullmatch(item.name))]
    return [item for _, item in sorted(found, reverse=True)]


def _migrate(connection: Connection) -> None:
    # Slow to import and large, and needed only after an upgrade: other starts do without.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
