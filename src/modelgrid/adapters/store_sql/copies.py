"""Copies of an SQLite database that is in use. Blocking; nothing here needs the daemon to be there."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from modelgrid.adapters.store_sql.faults import explain_sqlite
from modelgrid.adapters.store_sql.tables import VERSION_TABLE
from modelgrid.domain.errors import ModelGridError, NotFound, StoreUnavailable

BUSY_SECONDS = 10
_PAGES_AT_ONCE = 1024
"""4 MiB between two words about the progress."""


def copy_database(source: Path, copy: Path, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Write the newest committed state of `source` to the new file `copy`, mode 0600, down to the disk.

    Others may read and write meanwhile: what they commit is not in the copy. `on_progress` is told pages copied and
    pages in all. Raises `NotFound`, `StorageFull`, `StoreUnavailable`; then there is no `copy`."""
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        with _explained(source), _opened(source) as reader, closing(sqlite3.connect(copy)) as writer:
            # Held until the end: without it SQLite starts all over whenever somebody else has written.
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()

            def told(_status: int, left: int, pages: int) -> None:
                if on_progress is not None:
                    on_progress(pages - left, pages)

            with _explained(copy):
                writer.execute("PRAGMA synchronous = OFF")  # synced below, as a whole
                reader.backup(writer, pages=_PAGES_AT_ONCE, progress=told)
                writer.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
        sync(copy)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise


def schema_of(path: Path) -> str | None:
    """Return the revision of the schema of a database; `None` when it is not one of ours, or empty.

    Raises `NotFound`, `StoreUnavailable`."""
    with _explained(path), _opened(path) as reader:
        query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
        if reader.execute(query, [VERSION_TABLE]).fetchone() == (0,):
            return None
        row = reader.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608  our constant
        return None if row is None else str(row[0])


def check_whole(path: Path) -> None:
    """Raise `StoreUnavailable` when the database is damaged. Reads all of it."""
    with _explained(path), _opened(path) as reader:
        (answer,) = reader.execute("PRAGMA integrity_check(1)").fetchone()
    if answer != "ok":
        raise StoreUnavailable(
            f"The database {path} is damaged: {answer}.", fix="Take an older backup.", database=str(path)
        )


def settle(path: Path) -> None:
    """Bring everything that is in the log beside a database into it. Nobody else may have it open.

    Raises `NotFound`, `StorageFull`, `StoreUnavailable`."""
    with _explained(path), _opened(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def sync(path: Path) -> None:
    """Return once a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise NotFound(f"There is no database {path}.", fix="Name its folder with --state-dir.", database=str(path))
    # `rw` and not `ro`: the last one to leave tidies the log up, which whoever only reads may not.
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
        yield connection


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise what SQLite's errors mean."""
    try:
        yield
    except sqlite3.Error as error:
        fault = explain_sqlite(error, str(path))
        if fault is None:
            raise
        explained: ModelGridError = fault.error
        raise explained from error
