"""A disk that forgets what was not synced, under the real store.

`LossyDisk` is a SQLite VFS (through apsw, which carries its own SQLite) that remembers for each file what the last
sync made durable and what was written since. `power_cut` builds the files as they could be found after the power
failed: all that was synced, and of the rest any sectors, also half of a write and the later before the earlier.
`driver` is the part of DB-API that SQLAlchemy's SQLite dialect uses, over such a disk.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw

SECTOR = 512


class _File:
    def __init__(self) -> None:
        self.durable = bytearray()
        self.pending: list[tuple[int, bytes | None]] = []
        """(offset, data), or (size, None) for a truncation."""

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.durable, offset, data)
        self.pending.clear()

    def after_power_cut(self, chance: random.Random, kept: float) -> bytes:
        image = bytearray(self.durable)
        for offset, data in self.pending:
            if data is None:
                if chance.random() < kept:
                    _apply(image, offset, None)
                continue
            for at, part in _sectors(offset, data):
                if chance.random() < kept:
                    _apply(image, at, part)
        return bytes(image)


def _apply(image: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del image[offset:]
        return
    if len(image) < offset:
        image.extend(bytes(offset - len(image)))
    image[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(data):
        end = min(len(data), start + SECTOR - (offset + start) % SECTOR)
        yield offset + start, data[start:end]
        start = end


class LossyDisk(apsw.VFS):
    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self._chance = chance
        self._files: dict[str, _File] = {}
        self._countdown: int | None = None
        self._at_cut: Callable[[], None] = lambda: None
        self.found: dict[str, bytes] | None = None
        """File contents by name, as they are found after the cut; `None` before it."""
        super().__init__(name, "")

    def cut_after(self, operations: int, at_cut: Callable[[], None]) -> None:
        """Cut the power before the write or sync that many from now; `at_cut` is called at that moment."""
        self._countdown, self._at_cut = operations, at_cut

    def tick(self) -> None:
        if self._countdown is None or self.found is not None:
            return
        self._countdown -= 1
        if self._countdown <= 0:
            kept = self._chance.choice((0.0, 0.1, 0.5, 0.9))
            self.found = {name: file.after_power_cut(self._chance, kept) for name, file in self._files.items()}
            self._at_cut()

    def file(self, name: str) -> _File:
        return self._files.setdefault(Path(name).name, _File())

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  # SQLite's name
        filename = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        return _LossyFile(name, flags, self, self.file(filename))

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802
        self._files.pop(Path(name).name, None)
        super().xDelete(name, syncdir)


class _LossyFile(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], disk: LossyDisk, file: _File) -> None:
        self._disk, self._file = disk, file
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.tick()
        self._file.pending.append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.tick()
        self._file.pending.append((size, None))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802  # the real disk need not be bothered
        self._disk.tick()
        self._file.sync()


def driver(disk: LossyDisk) -> Any:
    """Return a stand-in for the module `sqlite3` whose connections write to `disk`."""
    errors = {
        name: type(name, (Exception,), {})
        for name in ("Warning", "InterfaceError", "DataError", "IntegrityError", "InternalError", "NotSupportedError")
    }
    return SimpleNamespace(
        apilevel="2.0",
        paramstyle="qmark",
        threadsafety=1,
        sqlite_version=apsw.sqlite_lib_version(),
        sqlite_version_info=tuple(int(part) for part in apsw.sqlite_lib_version().split(".")),
        Error=apsw.Error,
        DatabaseError=apsw.Error,
        OperationalError=apsw.Error,
        ProgrammingError=apsw.Error,
        Binary=bytes,
        connect=lambda path, **_options: _Connection(path, disk.name),
        **errors,
    )


class _Connection:
    isolation_level = None

    def __init__(self, path: str, vfs: str) -> None:
        self._connection = apsw.Connection(path, vfs=vfs)

    def cursor(self) -> "_Cursor":
        return _Cursor(self._connection)

    def commit(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def create_function(self, *_arguments: object, **_options: object) -> None:
        """The dialect registers `regexp` and `floor`; nothing here uses them."""

    def close(self) -> None:
        self._connection.close()


class _Cursor:
    arraysize = 1

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid = 0

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> "_Cursor":
        cursor = self._connection.cursor()
        self.description = None

        def describe(running: apsw.Cursor, _sql: str, _bound: object) -> bool:
            columns = running.get_description()
            self.description = [(column[0], None, None, None, None, None, None) for column in columns] or None
            return True

        cursor.exec_trace = describe
        self._rows = list(cursor.execute(statement, tuple(parameters)))
        self.rowcount = self._connection.changes()
        self.lastrowid = self._connection.last_insert_rowid()
        return self

    def executemany(self, statement: str, many: Sequence[Sequence[Any]]) -> None:
        for parameters in many:
            self.execute(statement, parameters)

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int = 1) -> list[Any]:
        taken, self._rows = self._rows[:size], self._rows[size:]
        return taken

    def fetchall(self) -> list[Any]:
        return self.fetchmany(len(self._rows))

    def close(self) -> None:
        self._rows = []
