"""The log store: takes in what is said, keeps the newest in memory and the rest in the archive, answers questions.

Whoever speaks never waits. Records go to the archive in batches, written by a thread; what the disk does not take in
time or not at all is counted, and a record says how much is missing.
"""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from modelgrid.domain.event import Level
from modelgrid.domain.history import KEPT_LOG_LINES
from modelgrid.domain.log import DAEMON, DEPLOYMENT, FieldValue, LogRecord
from modelgrid.domain.log_filter import LogFilter
from modelgrid.ports.clock import Clock
from modelgrid.ports.log_archive import LogArchive

FLUSH_SECONDS = 0.05
"""Listeners and the archive are given what came in since; bounds the work, whatever the rate."""
TAIL_RECORDS = 8_000
TAIL_BYTES = 4 * 1024**2
"""The whole daemon is to take 150 MB. The archive answers for what is older, in some 10 ms."""
UNWRITTEN_RECORDS = 50_000
"""What may wait for the disk."""
MOST_PER_SECOND = 50_000
"""Records of all sources; whoever has more than a fair share of them loses the rest."""
FAIR_SHARE = 2_000
LONGEST_MESSAGE = 64 * 1024
SEARCH_SECONDS = 2.0
"""One question looks so long into the archive; the answer says how far it came."""
_OVERHEAD_BYTES = 300
"""Of one record in memory besides its message, measured."""
_NOTHING: Mapping[str, FieldValue] = {}
_ALL = LogFilter()

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Records in rising order."""

    records: tuple[LogRecord, ...]
    complete: bool = True
    """False: the time was over; ask again from `reached`."""
    reached: int
    """Cursor: for a question backwards ask for what is before it, forwards for what is after it."""


class LogStore:
    """One event loop. Call `open` first and `close` at the end; `add_from_anywhere` is for other threads."""

    def __init__(self, archive: LogArchive, clock: Clock) -> None:
        self._archive = archive
        self._clock = clock
        self._next = 1
        self._tail: deque[LogRecord] = deque()
        self._tail_bytes = 0
        self._recent: dict[str, deque[LogRecord]] = {}
        self._unheard: list[LogRecord] = []
        self._unwritten: list[LogRecord] = []
        self._lost = 0
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._grown = asyncio.Event()
        self._listeners: list[Callable[[Sequence[LogRecord]], None]] = []
        self._window_ends = 0.0
        self._window: Counter[str] = Counter()
        self._window_total = 0
        self._skipped: Counter[str] = Counter()
        self._writer = ThreadPoolExecutor(1, "log-writer")
        self._readers = ThreadPoolExecutor(2, "log-reader")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._ends = self._closed = False
        self.problem = ""
        """Why records are not kept on disk at present; empty when they are."""

    async def open(self) -> None:
        """Go on from what is kept. A folder that cannot be used is a `problem`, not the end of the daemon."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        try:
            self._next = 1 + await self._loop.run_in_executor(self._writer, self._archive.open)
        except OSError as error:
            self._fail(error)
            return
        kept = await self._loop.run_in_executor(
            self._readers, lambda: self._archive.last(self._next, TAIL_RECORDS // 10, _ALL, lambda: True)
        )
        for record in kept.records:
            self._remember(record)

    def end_waits(self) -> None:
        """This process ends: tell whoever waits for a record that none came."""
        self._ends = True
        self._grown.set()

    async def close(self) -> None:
        """Write what is left. What is said from then on is not kept."""
        if self._timer is not None:
            self._timer.cancel()
            self._flush()
        while self._writing is not None:
            await self._writing
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._writer, self._close_archive)
        self._writer.shutdown(wait=False)
        self._readers.shutdown(wait=False, cancel_futures=True)

    # speaking

    def add(
        self, source: str, level: Level, message: str, fields: Mapping[str, FieldValue] = _NOTHING, at: float = 0.0
    ) -> None:
        """Take in one record; `at`: when it was said, if not now. Never blocks, never raises."""
        now = self._clock.monotonic()
        if now >= self._window_ends:
            self._new_window(now)
        self._window_total += 1
        self._window[source] += 1
        if self._window_total > MOST_PER_SECOND and self._window[source] > FAIR_SHARE:
            self._skipped[source] += 1
        else:
            self._take(source, level, message, fields, at or self._clock.now())
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    def add_from_anywhere(self, source: str, level: Level, message: str, fields: Mapping[str, FieldValue]) -> None:
        """Take in one record, from any thread."""
        if threading.get_ident() == self._thread:
            self.add(source, level, message, fields)
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.add, source, level, message, fields)

    # listening

    def listen(self, listener: Callable[[Sequence[LogRecord]], None]) -> None:
        """Call `listener` with each batch of new records, on the event loop. It must neither block nor raise."""
        self._listeners.append(listener)

    @property
    def next_seq(self) -> int:
        """The number of the next record."""
        return self._next

    def recent(self, source: str) -> tuple[LogRecord, ...]:
        """Return the last `KEPT_LOG_LINES` of a deployment's source, oldest first, from memory."""
        return tuple(self._recent.get(source, ()))

    def in_memory(self, source: str) -> tuple[LogRecord, ...]:
        """Return the newest records of a source that are in memory, oldest first."""
        return tuple(record for record in self._tail if record.source == source)

    async def recall(self, source: str) -> tuple[LogRecord, ...]:
        """As `recent`; a source that was silent since the start is looked up in the archive first."""
        if source not in self._recent:
            wanted = LogFilter(sources=frozenset({source}))
            page = await self._ask(
                lambda in_time: self._archive.last(self._next, KEPT_LOG_LINES, wanted, in_time), SEARCH_SECONDS
            )
            kept = self._recent.setdefault(source, deque(maxlen=KEPT_LOG_LINES))
            kept.extendleft(reversed([r for r in page.records if not kept or r.seq < kept[0].seq]))
        return self.recent(source)

    def forget(self, source: str) -> None:
        """Drop what `recent` gives; the records stay."""
        self._recent.pop(source, None)

    # asking

    async def last(self, limit: int, wanted: LogFilter = _ALL, before: int | None = None) -> LogPage:
        """Return the last `limit` records that are wanted, below number `before`."""
        tail, end = tuple(self._tail), before or self._next

        def look(in_time: Callable[[], bool]) -> LogPage:
            found: list[LogRecord] = []
            for record in reversed(tail):
                if record.seq < end and wanted.matches(record):
                    found.append(record)
                    if len(found) == limit:
                        return LogPage(records=tuple(reversed(found)), reached=record.seq)
            oldest = min(end, tail[0].seq) if tail else end
            older = self._archive.last(oldest, limit - len(found), wanted, in_time)
            records = older.records + tuple(reversed(found))
            return LogPage(records=records, complete=older.complete, reached=older.reached)

        return await self._ask(look, SEARCH_SECONDS)

    async def following(
        self, after: int, limit: int, wanted: LogFilter = _ALL, *, wait_seconds: float = 0.0
    ) -> LogPage:
        """Return the first `limit` wanted records above number `after`, waiting for one if there is none."""
        ends = self._clock.monotonic() + wait_seconds
        while True:
            page = await self._following(min(after, self._next - 1), limit, wanted)
            left = ends - self._clock.monotonic()
            if page.records or not page.complete or left <= 0 or self._ends:
                return page
            after = page.reached
            try:
                async with asyncio.timeout(left):
                    while self._next <= after + 1 and not self._ends:
                        self._grown.clear()
                        await self._grown.wait()
            except TimeoutError:
                return page

    async def _following(self, after: int, limit: int, wanted: LogFilter) -> LogPage:
        if self._next <= after + 1:
            return LogPage(records=(), reached=after)
        tail, newest = tuple(self._tail), self._next - 1

        def look(in_time: Callable[[], bool]) -> LogPage:
            found: tuple[LogRecord, ...] = ()
            if not tail or after + 1 < tail[0].seq:
                older = self._archive.following(after, limit, wanted, in_time)
                found = tuple(r for r in older.records if not tail or r.seq < tail[0].seq)
                if not older.complete or len(found) == limit:
                    return LogPage(records=found, complete=older.complete, reached=older.reached)
            newer = [record for record in tail if record.seq > after and wanted.matches(record)]
            records = found + tuple(newer[: limit - len(found)])
            cut = len(found) + len(newer) > limit
            return LogPage(records=records, reached=records[-1].seq if cut else newest)

        return await self._ask(look, SEARCH_SECONDS)

    async def _ask(self, look: Callable[[Callable[[], bool]], Answer], seconds: float) -> Answer:
        """Run `look` in a thread: reading and matching must not hold up the loop."""
        ends = self._clock.monotonic() + seconds
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, look, lambda: self._clock.monotonic() < ends
        )

    # taking in

    def _take(self, source: str, level: Level, message: str, fields: Mapping[str, FieldValue], at: float) -> None:
        if len(message) > LONGEST_MESSAGE:
            message = f"{message[:LONGEST_MESSAGE]}… ({len(message)} characters)"
        record = LogRecord(seq=self._next, at=at, source=source, level=level, message=message, fields=fields)
        self._next += 1
        self._remember(record)
        self._unheard.append(record)
        if len(self._unwritten) < UNWRITTEN_RECORDS:
            self._unwritten.append(record)
        else:
            self._lost += 1

    def _remember(self, record: LogRecord) -> None:
        self._tail.append(record)
        self._tail_bytes += len(record.message) + _OVERHEAD_BYTES
        while len(self._tail) > TAIL_RECORDS or self._tail_bytes > TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft().message) + _OVERHEAD_BYTES
        if record.source.startswith(DEPLOYMENT) and (recent := self._recent.get(record.source)) is not None:
            recent.append(record)

    def _new_window(self, now: float) -> None:
        self._window_ends = now + 1.0
        self._window.clear()
        self._window_total = 0
        skipped, self._skipped = self._skipped, Counter()
        for source, count in skipped.items():
            said = f"… {count:,} lines skipped: more than {MOST_PER_SECOND:,} came in within a second"
            self._take(source, Level.WARNING, said, {"skipped": count}, self._clock.now())

    # handing on

    def _flush(self) -> None:
        self._timer = None
        if self._skipped:
            now = self._clock.monotonic()
            if now >= self._window_ends:
                self._new_window(now)
            else:
                self._timer = asyncio.get_running_loop().call_later(self._window_ends - now, self._flush)
        heard, self._unheard = self._unheard, []
        if heard:
            self._grown.set()
            for listener in self._listeners:
                listener(heard)
        if self._unwritten and self._writing is None and not self._closed:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._unwritten:
                batch, self._unwritten = self._unwritten, []
                while batch:
                    try:
                        kept = await asyncio.get_running_loop().run_in_executor(
                            self._writer, self._archive.append, batch
                        )
                    except OSError as error:
                        self._lost += len(batch)
                        self._fail(error)
                        break
                    self._recover()
                    batch = batch[kept:]
        finally:
            self._writing = None

    def _fail(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        if self.problem != reason:
            self.problem = reason
            said = f"logs cannot be written to disk: {reason}. The newest stay in memory; everything else goes on"
            self.add(DAEMON, Level.ERROR, said)

    def _recover(self) -> None:
        self.problem = ""
        if self._lost:
            lost, self._lost = self._lost, 0
            said = f"… {lost:,} lines skipped: they could not be written to disk"
            self.add(DAEMON, Level.WARNING, said, {"skipped": lost})

    def _close_archive(self) -> None:
        try:
            self._archive.close()
        except OSError:  # the segment is read through at the next start instead
            return
