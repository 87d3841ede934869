"""The page of memory that all gateway processes of a daemon share: what keys have used up, and what is under way where.

The supervisor holds it (`memfd`), so it outlives each gateway process. One record per key, model or replica:

    tag | requests full at | tokens full at | under way in process slot 0 | slot 1 | …

- The two times have many writers, and are changed under a lock of that record.
- "Under way" has one writer per slot: a process only ever changes its own column. A total is a sum over the columns.
- A process is alive while it holds the lock of its slot. The kernel gives locks back when a process ends, however it
  ends; whoever notices clears the column it left behind.

A critical section takes some 5 µs. A lock that is not free after `LOCK_SECONDS` is done without (its holder was stopped
inside the section), which may let one request too many pass.
"""

import fcntl
import logging
import mmap
import os
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

log = logging.getLogger(__name__)

RECORDS: Final = 65536
"""Keys with limits, models and replicas together. Untouched ones cost no memory."""
_HEADER_CELLS: Final = 160
_CELL: Final = 8
_LAYOUT: Final = 1
"""Counted up whenever anything here or in `figures` is laid out otherwise: gateways of another version may be replacing
these, and the page outlives both."""
_USED: Final = 0
"""Header cell: records given out so far. The cells after it: pid of each slot's process, 0 when it is free."""
_LAYOUT_CELL: Final = _HEADER_CELLS - 1
_REQUESTS: Final = 1
_TOKENS: Final = 2
_COLUMNS: Final = 3
_ALLOCATION: Final = RECORDS
"""Lock of `_USED`, beside those of the records."""
_ENDED: Final = RECORDS + 1
_SLOT_LOCKS: Final = 1 << 40
LOCK_SECONDS: Final = 0.005
"""Longest wait for a lock: a holder that lost its processor inside a critical section gets it back by then."""


class BoardError(Exception):
    """The page cannot be used."""


class Board:
    """One process's hold on the page. For use in one thread; `join` comes first."""

    def __init__(self, descriptor: int, workers: int) -> None:
        """`descriptor`: of a memory file that all gateways of the daemon share; all give the same `workers`.

        Raises BoardError when a gateway of another version has laid it out.
        """
        self.descriptor = descriptor
        self._slots = 2 * workers + 2  # while they are being replaced, there are two of each
        self._stride = _COLUMNS + self._slots
        self.size = -(-(_HEADER_CELLS + RECORDS * self._stride) * _CELL // mmap.PAGESIZE) * mmap.PAGESIZE
        """Bytes of the records; what follows in the file is `figures`'."""
        if os.fstat(descriptor).st_size < self.size:
            os.ftruncate(descriptor, self.size)
        self._page = mmap.mmap(descriptor, self.size)
        view = memoryview(self._page)
        self._whole = view.cast("q")
        self._times = view.cast("d")
        layout = _LAYOUT << 32 | self._stride
        if self._whole[_LAYOUT_CELL] not in (0, layout):
            raise BoardError("the shared page was laid out by another version")
        self._whole[_LAYOUT_CELL] = layout
        self._known: dict[int, int] = {}
        self._seen = 0
        self.ended_slot = self._slots
        """Of the figures of processes that have ended."""
        self.on_death: Callable[[int], bool] | None = None
        """Asked about the slot of a process that has ended; it may be cleared when the answer is true."""
        self.slot = -1
        self.others: tuple[int, ...] = ()
        """Slots of the other live processes, as of the last `look_around`."""

    @classmethod
    def private(cls) -> "Board":
        """Return a page that nobody else knows of."""
        return cls(os.memfd_create("modelgrid-board"), 1)

    def join(self) -> None:
        """Take a slot for as long as this process lives. Raises BoardError when all are taken."""
        for slot in range(self._slots):
            if not self._try_lock(_SLOT_LOCKS + slot):
                continue
            if self._free(slot):
                self.slot = slot
                self._whole[1 + slot] = os.getpid()
                self.look_around()
                return
            self._unlock(_SLOT_LOCKS + slot)
        raise BoardError(f"all {self._slots} slots of the shared page are taken by live processes")

    def leave(self) -> None:
        """Give the slot back; nothing of this process may be under way."""
        self._free(self.slot)
        self._unlock(_SLOT_LOCKS + self.slot)

    def look_around(self) -> None:
        """See which other processes live, and clear what dead ones left."""
        others = []
        for slot in range(self._slots):
            if slot == self.slot or not self._whole[1 + slot]:
                continue
            if self._try_lock(_SLOT_LOCKS + slot):
                log.warning("gateway process %d has ended without a word", self._whole[1 + slot])
                self._free(slot)
                self._unlock(_SLOT_LOCKS + slot)
            else:
                others.append(slot)
        self.others = tuple(others)

    def lock_ended(self) -> bool:
        """Lock the figures of processes that have ended; return whether `unlock_ended` is owed."""
        return self._lock(_ENDED)

    def unlock_ended(self) -> None:
        """Undo `lock_ended`."""
        self._unlock(_ENDED)

    def record(self, tag: int) -> int:
        """Return the record of what has that tag (`tag_of`), made when there is none.

        Valid while something of it is under way; otherwise it may be given to another when the page is full. Raises
        BoardError when something is under way in every record.
        """
        at = self._known.get(tag, -1)
        if at >= 0 and self._whole[at] == tag:
            return at
        locked = self._lock(_ALLOCATION)
        try:
            at = self._find(tag)
            if at < 0:
                at = self._allocate()
                self._whole[at] = tag
        finally:
            if locked:
                self._unlock(_ALLOCATION)
        self._known[tag] = at
        return at

    def lock(self, record: int) -> bool:
        """Lock a record against the other processes, where there are any; return whether `unlock` is owed."""
        return bool(self.others) and self._lock((record - _HEADER_CELLS) // self._stride)

    def unlock(self, record: int) -> None:
        """Undo `lock`."""
        self._unlock((record - _HEADER_CELLS) // self._stride)

    def spent(self, record: int) -> tuple[float, float]:
        """Return when the bucket of requests and that of tokens are full again."""
        return self._times[record + _REQUESTS], self._times[record + _TOKENS]

    def spend(self, record: int, requests_full_at: float, tokens_full_at: float) -> None:
        """Store what `spent` returns from now on."""
        self._times[record + _REQUESTS] = requests_full_at
        self._times[record + _TOKENS] = tokens_full_at

    def charge(self, record: int, requests_full_at: float, tokens_full_at: float) -> None:
        """`spend`, and count one that begins in this process."""
        real = self._times
        real[record + _REQUESTS] = requests_full_at
        real[record + _TOKENS] = tokens_full_at
        self._whole[record + _COLUMNS + self.slot] += 1

    def add(self, record: int, change: int) -> None:
        """Count what begins (+1) or ends (-1) in this process."""
        self._whole[record + _COLUMNS + self.slot] += change

    def put(self, record: int, number: int) -> None:
        """Say how much is under way in this process."""
        self._whole[record + _COLUMNS + self.slot] = number

    def touch(self, record: int) -> None:
        """Keep a record that has no buckets from being forgotten on a full page; due within the minute."""
        self._times[record + _REQUESTS] = time.monotonic()

    def under_way(self, record: int) -> int:
        """Return the sum over all processes."""
        first = record + _COLUMNS
        total = self._whole[first + self.slot]
        for slot in self.others:
            total += self._whole[first + slot]
        return total

    def elsewhere(self, record: int) -> int:
        """Return the sum over the other processes."""
        first = record + _COLUMNS
        return sum(self._whole[first + slot] for slot in self.others)

    # Inside

    def _at(self, number: int) -> int:
        return _HEADER_CELLS + number * self._stride

    def _find(self, tag: int) -> int:
        used = self._whole[_USED]
        first = self._seen if used < RECORDS else 0  # a full page gives old records to others
        for at in map(self._at, range(first, used)):
            self._known[self._whole[at]] = at
        self._seen = used
        return self._known.get(tag, -1)

    def _allocate(self) -> int:
        used = self._whole[_USED]
        if used < RECORDS:
            self._whole[_USED] = used + 1
            return self._at(used)
        unused = [at for at in map(self._at, range(used)) if not any(self._columns(at))]
        if not unused:
            raise BoardError(f"something is under way in each of {RECORDS} records")
        at = min(unused, key=self._last_full)  # what has been full for the longest loses the least by being forgotten
        self.spend(at, 0.0, 0.0)
        return at

    def _columns(self, record: int) -> memoryview:
        return self._whole[record + _COLUMNS : record + self._stride]

    def _last_full(self, record: int) -> float:
        return max(self.spent(record))

    def _free(self, slot: int) -> bool:
        if self.on_death is not None and not self.on_death(slot):
            return False
        self._clear(slot)
        self._whole[1 + slot] = 0
        return True

    def _clear(self, slot: int) -> None:
        for number in range(self._whole[_USED]):
            self._whole[self._at(number) + _COLUMNS + slot] = 0

    def _lock(self, offset: int) -> bool:
        if self._try_lock(offset):
            return True
        end = time.monotonic() + LOCK_SECONDS
        while time.monotonic() < end:
            os.sched_yield()
            if self._try_lock(offset):
                return True
        return False

    def _try_lock(self, offset: int) -> bool:
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except (BlockingIOError, PermissionError):  # lockf(2) may say either
            return False
        return True

    def _unlock(self, offset: int) -> None:
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, offset)


def tag_of(kind: str, name: str) -> int:
    """Return the tag of a name: 63 bits of a hash, never 0."""
    return int.from_bytes(sha256(f"{kind} {name}".encode()).digest()[:8], "big") >> 1 | 1
