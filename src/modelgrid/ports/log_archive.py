"""Where log records are kept for longer than in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from modelgrid.domain.log import LogRecord
from modelgrid.domain.log_filter import LogFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePage:
    """Records in rising order."""

    records: tuple[LogRecord, ...]
    complete: bool
    """False: `reached` is as far as the time went; what is beyond was not looked at."""
    reached: int
    """Sequence number up to which (or down to which) everything was looked at."""


class LogArchive(Protocol):
    """Bounded in bytes and age. Calls block. One thread at a time opens, appends and closes; any thread reads."""

    def open(self) -> int:
        """Return a number no smaller than any sequence number given out so far. Raises `OSError`."""
        ...

    def append(self, records: Sequence[LogRecord]) -> int:
        """Keep the first of `records`, which follow all others; return how many: at least one.

        Raises `OSError`; none of them is kept then."""
        ...

    def last(self, before: int, limit: int, wanted: LogFilter, in_time: Callable[[], bool]) -> ArchivePage:
        """Return the last `limit` wanted records whose number is below `before`, looking for as long as `in_time()`."""
        ...

    def following(self, after: int, limit: int, wanted: LogFilter, in_time: Callable[[], bool]) -> ArchivePage:
        """Return the first `limit` wanted records whose number is above `after`."""
        ...

    def close(self) -> None: ...
