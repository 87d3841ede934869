"""The figures of all gateway processes of a daemon, so that any of them can answer for all.

Behind the records of the shared page lies one area per process slot, and one for processes that have ended. A process
writes its figures into its own area now and then, always before it adds up what all areas hold, and when it ends. So a
counter on `/metrics` never goes back, whichever process answers, and whichever dies. Nothing of it needs control.

An area has two halves. A write fills the one that is not in use and then names it in the area's head, in one piece: a
process that dies while it writes leaves the half before.
"""

import logging
import os
import struct
import time
from typing import TYPE_CHECKING

import msgspec

from modelgrid.gateway.metrics import sheet_of
from modelgrid.gateway.sheet import Sheet, add, lasting

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core

log = logging.getLogger(__name__)

HALF_BYTES = 16 * 1024 * 1024
"""About 50,000 combinations of model, replica, key and status. What is not written takes no memory."""
PERIOD_SECONDS = 0.5
_SHARE = 100
"""Writing takes no more than a hundredth of the time."""
_HEAD = struct.Struct("<QQ")
"""Number of the write (its parity names the half), and length."""
_AREA_BYTES = 4096 + 2 * HALF_BYTES


class _Kept(msgspec.Struct):
    process: str = ""
    sheet: Sheet = {}
    ended: list[str] = []
    """In the area of processes that have ended: the last ones, so that none is added twice."""


_REMEMBERED = 256
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Kept).decode


class Figures:
    """One process's part. For use in one thread."""

    def __init__(self, core: "Core") -> None:
        self._core = core
        self._board = core.board
        self._process = f"{os.getpid()} {core.started_at}"
        self._next = 0.0
        self._board.on_death = self._bury

    def tick(self) -> None:
        """Write, when it is time to."""
        if time.monotonic() >= self._next:
            self._publish()

    def total(self) -> Sheet:
        """Return the figures of all processes, this one's up to the moment."""
        own = self._publish()
        total: Sheet = {}
        for slot in (self._board.ended_slot, *self._board.others):
            kept = self._read(slot)
            if kept is not None:
                add(total, kept.sheet)
        add(total, own)
        return total

    def close(self) -> None:
        """This process ends: write what it counted last, for `Board.leave` to pass on."""
        self._publish()

    def _publish(self) -> Sheet:
        started = time.monotonic()
        sheet = sheet_of(self._core)
        self._write(self._board.slot, _Kept(process=self._process, sheet=sheet))
        now = time.monotonic()
        self._next = now + max(PERIOD_SECONDS, _SHARE * (now - started))
        return sheet

    def _bury(self, slot: int) -> bool:
        """Add what the process of `slot` counted to what ended ones did; return whether that is done."""
        dead = self._read(slot)
        if dead is None:
            return True
        if not self._board.lock_ended():
            return False
        try:
            ended = self._read(self._board.ended_slot) or _Kept()
            if dead.process not in ended.ended:
                add(ended.sheet, lasting(dead.sheet))
                ended.ended = [*ended.ended, dead.process][-_REMEMBERED:]
                self._write(self._board.ended_slot, ended)
            self._erase(slot)
        finally:
            self._board.unlock_ended()
        return True

    # The areas

    def _at(self, slot: int) -> int:
        return self._board.size + slot * _AREA_BYTES

    def _head(self, slot: int) -> tuple[int, int]:
        head = os.pread(self._board.descriptor, _HEAD.size, self._at(slot))
        number, length = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
        return number, length

    def _write(self, slot: int, kept: _Kept) -> None:
        payload = _encode(kept)
        if len(payload) > HALF_BYTES:
            log.error("figures of %d bytes are not shared: the limit is %d", len(payload), HALF_BYTES)
            return
        number = self._head(slot)[0] + 1
        at = self._at(slot)
        os.pwrite(self._board.descriptor, payload, at + 4096 + number % 2 * HALF_BYTES)
        os.pwrite(self._board.descriptor, _HEAD.pack(number, len(payload)), at)

    def _read(self, slot: int) -> _Kept | None:
        for _ in range(10):  # its process may write twice meanwhile; ten times in a row it does not
            number, length = self._head(slot)
            if not length:
                return None
            half = self._at(slot) + 4096 + number % 2 * HALF_BYTES
            payload = os.pread(self._board.descriptor, length, half)
            if self._head(slot)[0] in (number, number + 1):  # the next write goes to the other half
                try:
                    return _decode(payload)
                except msgspec.MsgspecError as error:  # of another version
                    log.warning("figures of another gateway process cannot be read: %s", error)
                    return None
        return None

    def _erase(self, slot: int) -> None:
        os.pwrite(self._board.descriptor, _HEAD.pack(self._head(slot)[0], 0), self._at(slot))
