"""What the databases' own errors mean to a caller of the store."""

import os
import sqlite3
from dataclasses import dataclass

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from modelgrid.domain.errors import Conflict, InvalidInput, ModelGridError, StorageFull, StoreUnavailable

_ROOM_BYTES = 256 * 1024
"""Below this a failed write is taken for a full disk: some of SQLite's calls fail without saying why, and what
it wants at once is at most a few pages and 32 KiB of shared memory."""

_FULL_FIX = "Free space on the disk that holds the state; writing goes on by itself."


@dataclass(frozen=True, slots=True)
class Fault:
    """`error` is for the caller. `passing`: the server ended the transaction or the connection for reasons of
    its own, so an attempt that had not begun to commit left nothing behind and may be made again."""

    error: ModelGridError
    passing: bool = False


def explain(error: Exception, *, database: str) -> Fault | None:
    """Return what `error` means, or `None` when it is not the database's doing (a mistake in our own code).

    `database` is the SQLite file, or the PostgreSQL URL without its password, as shown to people."""
    if isinstance(error, PoolTimeoutError):
        return Fault(_unavailable(database, "all connections are in use"))
    if isinstance(error, UnicodeEncodeError):
        return Fault(InvalidInput("A name or text to be stored is not valid Unicode."))
    if not isinstance(error, StatementError):
        return None
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return explain_sqlite(cause, database)
    if isinstance(cause, UnicodeEncodeError):
        return Fault(InvalidInput("A name or text to be stored is not valid Unicode."))
    return _explain_postgresql(error, database) if isinstance(error, DBAPIError) else None


def _unavailable(database: str, what: str, fix: str = "") -> StoreUnavailable:
    return StoreUnavailable(f"The state database {database} does not answer: {what}.", fix=fix, database=database)


def explain_sqlite(error: sqlite3.Error, path: str) -> Fault | None:
    """Return what an error of the database `path` means, by its primary result code (https://sqlite.org/rescode.html)."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    found: ModelGridError | None = None
    match None if code is None else code & 0xFF:
        case sqlite3.SQLITE_FULL:
            found = _full(path)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if _no_room(path):
            found = _full(path)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            found = _unavailable(path, "another process keeps it locked", "End the process that holds it.")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            found = _unavailable(path, f"it is damaged ({error})", "Restore it from a backup.")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH | sqlite3.SQLITE_CANTOPEN:
            fix = "Give the daemon's user read and write access to the state directory."
            found = _unavailable(path, str(error), fix)
        case sqlite3.SQLITE_IOERR:
            found = _unavailable(path, str(error), "Look for disk errors in the kernel log (`dmesg`).")
        case sqlite3.SQLITE_CONSTRAINT:
            found = Conflict(f"It contradicts what is stored already ({error}).")
    return None if found is None else Fault(found)


def _full(database: str) -> StorageFull:
    return StorageFull(f"The disk of the state database {database} is full.", fix=_FULL_FIX, database=database)


def _no_room(path: str) -> bool:
    try:
        disk = os.statvfs(path)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _ROOM_BYTES or (disk.f_files > 0 and disk.f_favail == 0)


def _explain_postgresql(error: DBAPIError, url: str) -> Fault | None:
    """By SQLSTATE (PostgreSQL manual, appendix A); a connection that cannot be made or broke has none."""
    state: str = getattr(error.orig, "sqlstate", None) or ""
    words = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
    fault: Fault | None = None
    if state == "53100":  # disk_full
        fault = Fault(_full(url))
    elif state in {"40001", "40P01"}:  # serialization_failure, deadlock_detected: rolled back, ours to repeat
        fault = Fault(_unavailable(url, words), passing=True)
    elif state == "25006":  # read_only_sql_transaction
        fault = Fault(_unavailable(url, "it is a read-only standby", "Point the state URL at the primary."))
    elif state in {"55P03", "57014"}:  # lock_not_available, query_canceled (by our statement_timeout)
        fault = Fault(_unavailable(url, words))
    elif state.startswith(("28", "3D")):  # invalid_authorization, invalid_catalog_name
        fault = Fault(_unavailable(url, words, "Check user, password and database of the state URL."))
    elif isinstance(error, DataError):
        fault = Fault(InvalidInput(f"A value cannot be stored: {words}."))
    elif isinstance(error, IntegrityError):
        fault = Fault(Conflict(f"It contradicts what is stored already ({words})."))
    elif error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError)):
        fault = Fault(_unavailable(url, words, "Start the PostgreSQL server, or check the network."), passing=True)
    return fault
