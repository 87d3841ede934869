"""The last routing table on disk, so that a gateway serves after its own restart while control is away."""

import logging
import os
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from modelgrid.domain.routing import RoutingTable

log = logging.getLogger(__name__)


class TableCache:
    """One file, mode 0600: it holds the digests of API keys, and this node's credential."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: RoutingTable | None = None

    def load(self) -> RoutingTable | None:
        """Return the table that a gateway of this daemon saved last, or None when there is none that can be used
        (logged). One that is new among others, or was away for a while, begins with what those know."""
        try:
            siblings = self._path.parent.glob(f"routing-*{self._path.suffix}")
            known = {path: path.stat().st_mtime_ns for path in (*siblings, self._path) if path.exists()}
            if not known:
                return None
            payload = max(known, key=lambda path: known[path]).read_bytes()
        except OSError as error:
            log.warning("the routing cache %s cannot be read: %s", self._path, error)
            return None
        try:
            return msgspec.msgpack.decode(payload, type=RoutingTable)
        except msgspec.MsgspecError as error:
            log.warning("the routing cache %s is not usable: %s", self._path, error)
            return None

    def differs(self, table: RoutingTable) -> bool:
        """Whether `table` says something else than what was saved last (metrics and generation aside)."""
        old = self._written
        return old is None or _kept(old) != _kept(table)

    def save(self, table: RoutingTable) -> None:
        """Write `table` atomically and durably. Blocks on the disk: for a worker thread. Raises OSError."""
        payload = msgspec.msgpack.encode(replace(table, control_metrics=""))
        handle, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)  # made with mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except OSError:
            with suppress(FileNotFoundError):
                Path(name).unlink()
            raise
        self._written = table


def _kept(table: RoutingTable) -> tuple[object, ...]:
    return table.models, table.keys, table.settings, table.node, table.peers, table.credential
