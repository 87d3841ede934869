import asyncio
import os
import stat
from pathlib import Path

from modelgrid.config.urls import catalog_path
from modelgrid.decide.catalog import MAX_CATALOG_BYTES, decode
from modelgrid.domain.errors import InvalidInput, NotFound
from modelgrid.domain.model import CatalogEntry


class FileCatalogSource:
    """Implements `ports.catalog.CatalogSource` over a file that the operator keeps.

    `location` is an absolute path or a `file://` URL; reading anything else raises. The file is read again whenever it
    changed since it was read last (identity, size, time of change), so `load` shows edits; a file that became
    unreadable raises, and what was read before stays with the caller. Entries may name folders of this machine. Only
    regular files are read.
    """

    def __init__(self, name: str, location: str | Path) -> None:
        self.name = name
        self._refused: InvalidInput | None = None
        try:
            self.path = Path(catalog_path(str(location)))
        except ValueError as error:
            self.path = Path(location)
            self._refused = _no_path(name, str(location), error)
        self._seen: tuple[int, int, int] | None = None
        self._entries: tuple[CatalogEntry, ...] = ()

    async def load(self) -> tuple[CatalogEntry, ...]:
        return await asyncio.to_thread(self._read, force=False)

    async def refresh(self) -> tuple[CatalogEntry, ...]:
        return await asyncio.to_thread(self._read, force=True)

    def _read(self, *, force: bool) -> tuple[CatalogEntry, ...]:
        if self._refused is not None:
            raise self._refused
        try:
            # Not blocking: a FIFO in the file's place would otherwise hold the thread for ever.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFound(
                f"Catalog {self.name}: there is no file {self.path}.",
                fix="Create it, or correct `models.sources` in config.json.",
                source=self.name,
                path=str(self.path),
            ) from error
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise self._unreadable("it is no regular file")
            seen = (status.st_ino, status.st_size, status.st_mtime_ns)
            if force or seen != self._seen:
                with os.fdopen(descriptor, "rb", closefd=False) as file:
                    data = file.read(MAX_CATALOG_BYTES + 1)
                self._entries = decode(data, source=self.name)
                self._seen = seen
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        finally:
            os.close(descriptor)
        return self._entries

    def _unreadable(self, why: str) -> InvalidInput:
        return InvalidInput(
            f"Catalog {self.name}: {self.path} cannot be read: {why}.",
            fix="Make it a readable file, or correct `models.sources` in config.json.",
            source=self.name,
            path=str(self.path),
            value=str(self.path),
            expected="a readable regular file",
        )


def _no_path(name: str, location: str, why: ValueError) -> InvalidInput:
    return InvalidInput(
        f"Catalog {name}: the location {location!r} cannot be used: {why}.",
        fix="Correct `models.sources` in config.json.",
        path="models.sources",
        value=location,
        expected="an absolute path or a file:// URL",
    )
