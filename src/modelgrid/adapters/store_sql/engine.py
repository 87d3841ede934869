"""From a URL to a database engine whose every connection is set up the same way."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from modelgrid.domain.errors import InvalidConfig

BUSY_SECONDS = 5
"""How long SQLite waits for another process's write before it answers `StoreUnavailable`."""

SQLITE_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}",
    "PRAGMA journal_mode = WAL",
    # NORMAL does not sync the log at a commit: an acknowledged write can be lost with the power.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA journal_size_limit = {64 * 1024**2}",
    # In KiB. What is read often is in memory as domain values, and what is not is in the kernel's cache.
    "PRAGMA cache_size = -256",
)
"""In this order, on every new connection."""

POSTGRESQL_CONNECTIONS = 4
"""Calls that run at the same time. A control plane waits on its database one short transaction at a time, so a
few are plenty and leave room below PostgreSQL's default of 100 for many control planes."""

_POSTGRESQL_DEFAULTS = {
    "connect_timeout": "3",
    "application_name": "modelgrid",
    # A server that is gone without a word (power, network) is noticed within ten seconds, not after hours.
    "tcp_user_timeout": "10000",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
}
"""libpq parameters; the URL's own query wins."""

_POSTGRESQL_SESSION = (
    "SET statement_timeout = '10s'",
    "SET lock_timeout = '5s'",
    "SET idle_in_transaction_session_timeout = '30s'",
)

WRITE = "modelgrid_write"
"""Execution option of connections that will write: SQLite then takes its write lock at the start, because a read
transaction that turns into a write fails when another process wrote meanwhile."""


def make_engine(url: str) -> Engine:
    """Return an engine for `sqlite:////absolute/state.db` or `postgresql://user@host/database`.

    Makes the SQLite file, readable by its owner alone; does not connect. Blocking, and the driver is imported.
    Raises `InvalidConfig` for a URL that is not usable."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidConfig(
            "The state URL cannot be read.", fix="Use sqlite:////path/state.db or postgresql://user@host/database."
        ) from error
    match parsed.get_backend_name():
        case "sqlite":
            return sqlite_engine(_database_path(parsed))
        case "postgresql" | "postgres":
            return _postgresql_engine(parsed)
        case other:
            raise InvalidConfig(
                f"The state URL names the database '{other}', which is not supported.",
                fix="Use sqlite:////path/state.db or postgresql://user@host/database.",
            )


def shown_as(url: URL) -> str:
    """Return what people are told of a database: the SQLite file, or the PostgreSQL URL without its password and
    parameters, among which there may be another one."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)


def sqlite_engine(path: Path, *, pragmas: tuple[str, ...] = SQLITE_PRAGMAS, dbapi: Any = None) -> Engine:
    """Return an engine over the SQLite file `path` with one connection.

    `dbapi` is another driver module in place of `sqlite3`: the tests of power loss bring one over a file system
    that drops what was not synced."""
    _make_private_file(path)
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        module=dbapi,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        connect_args={"isolation_level": None},  # transactions are begun below, never by the driver
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            answer = _insist(cursor, pragma)
            if "journal_mode" in pragma and answer != ("wal",):
                raise InvalidConfig(
                    f"{path} lies on a file system on which SQLite cannot keep a write-ahead log.",
                    fix="Put the state directory on a local disk, or use PostgreSQL.",
                    path=str(path),
                )
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _insist(cursor: Any, pragma: str) -> Any:
    """Run `pragma`. Turning the log on does not wait for the busy timeout when two processes open a new file at
    the same moment, so the waiting is done here."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return cursor.execute(pragma).fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
        time.sleep(0.02)


def _database_path(url: URL) -> Path:
    if not url.database or url.database == ":memory:":
        raise InvalidConfig(
            "The state must be kept in a file.", fix="Use sqlite:////var/lib/modelgrid/state.db.", url="sqlite://"
        )
    return Path(url.database)


def _make_private_file(path: Path) -> None:
    """SQLite gives the log and the shared memory beside the database the database's own mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_mode & 0o077:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise InvalidConfig(
            f"The state database {path} cannot be opened: {error.strerror}.",
            fix="Give the daemon's user read and write access to its state directory.",
            path=str(path),
        ) from error


def _postgresql_engine(url: URL) -> Engine:
    query = {**_POSTGRESQL_DEFAULTS, **url.query}
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg", query=query),
            poolclass=QueuePool,
            pool_size=POSTGRESQL_CONNECTIONS,
            max_overflow=0,
            pool_pre_ping=True,  # a connection that died with a restarted server is replaced before it is used
            # Prepared statements outlive neither a connection pooler's switch nor another node's migration.
            connect_args={"prepare_threshold": None},
        )
    except ModuleNotFoundError as error:
        raise InvalidConfig(
            "The PostgreSQL driver is not installed.", fix="Run `pip install 'modelgrid[postgresql]'`."
        ) from error

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            for statement in _POSTGRESQL_SESSION:
                cursor.execute(statement)
            # `off` and `local` acknowledge before the write is safe; stricter settings are the operator's choice.
            cursor.execute("SHOW synchronous_commit")
            if cursor.fetchone() in {("off",), ("local",)}:
                cursor.execute("SET synchronous_commit = on")
        connection.commit()

    return engine
