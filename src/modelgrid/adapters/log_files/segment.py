"""One file of the log archive, `<first sequence number>.ndjson`, and what is known of its contents.

What is known lets a reader pass over files that cannot hold what it looks for. It is written beside a file that is
not written to any more (`.json`), and found out anew from a file that has no such note or outgrew it.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from modelgrid.domain.log import SEVERITY, LogRecord
from modelgrid.domain.log_filter import LogFilter

SUFFIX = ".ndjson"
_NOTE = ".json"
_LOOK_AT_TIME_EVERY = 256

_decode = msgspec.json.Decoder(LogRecord).decode


class Note(msgspec.Struct):
    """What is known of a file that holds `size` bytes."""

    size: int = 0
    first_seq: int = 0
    last_seq: int = 0
    first_at: float = float("inf")
    last_at: float = float("-inf")
    severity: int = 0
    """Of the most severe record."""
    sources: set[str] = msgspec.field(default_factory=set)

    def take(self, records: Sequence[LogRecord], size: int) -> None:
        """Add records that now stand in the file, which has `size` bytes."""
        self.sources.update(record.source for record in records)
        times = [record.at for record in records]
        self.first_at, self.last_at = min(self.first_at, *times), max(self.last_at, *times)
        self.severity = max(self.severity, *(SEVERITY[record.level] for record in records))
        self.first_seq = self.first_seq or records[0].seq
        self.last_seq = records[-1].seq
        self.size = size


class Segment:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.note = Note()

    @classmethod
    def named(cls, folder: Path, first_seq: int) -> "Segment":
        return cls(folder / f"{first_seq:020}{SUFFIX}")

    def load(self) -> bool:
        """Find out what is in the file; cut off a last line that was not finished. Return whether a note told it all.

        Raises `OSError`."""
        size = self.path.stat().st_size
        try:
            note = msgspec.json.decode(self._note_path.read_bytes(), type=Note)
        except (OSError, msgspec.MsgspecError):
            note = None
        if note is not None and note.size == size:
            self.note = note
            return True
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self.path, whole)
        records = [record for line in data[:whole].splitlines() if (record := decoded(line)) is not None]
        self.note = Note()
        if records:
            self.note.take(records, whole)
        return False

    def write_note(self) -> None:
        """Raises `OSError`."""
        self._note_path.write_bytes(msgspec.json.encode(self.note))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)

    def may_hold(self, wanted: LogFilter) -> bool:
        note = self.note
        return (
            note.severity >= SEVERITY[wanted.level]
            and (wanted.since is None or note.last_at >= wanted.since)
            and (wanted.until is None or note.first_at <= wanted.until)
            and any(wanted.wants_source(source) for source in tuple(note.sources))
        )

    def backwards(self, before: int, in_time: Callable[[], bool]) -> Iterator[LogRecord | None]:
        """Yield the records below `before`, newest first; `None` and no more when the time is over."""
        data = self._data()
        end = len(data) - 1
        for count in range(1, len(data) + 1):
            if end <= 0:
                return
            start = data.rfind(b"\n", 0, end) + 1
            line, end = data[start:end], start - 1
            if number_of(line) < before and (record := decoded(line)) is not None:
                yield record
            if count % _LOOK_AT_TIME_EVERY == 0 and not in_time():
                yield None
                return

    def forwards(self, after: int, in_time: Callable[[], bool]) -> Iterator[LogRecord | None]:
        """Yield the records above `after`, oldest first; `None` and no more when the time is over."""
        for count, line in enumerate(self._data().splitlines(), start=1):
            if number_of(line) > after and (record := decoded(line)) is not None:
                yield record
            if count % _LOOK_AT_TIME_EVERY == 0 and not in_time():
                yield None
                return

    def _data(self) -> bytes:
        """Return what is in the file for sure; nothing when it was removed for its age meanwhile."""
        size = self.note.size
        try:
            with self.path.open("rb") as file:
                return file.read(size)
        except FileNotFoundError:
            return b""

    @property
    def _note_path(self) -> Path:
        return self.path.with_suffix(_NOTE)


def number_of(line: bytes) -> int:
    """Return the sequence number that a line begins with; 0 when it is none of ours."""
    head = line[7:30].partition(b",")[0]
    return int(head) if head.isdigit() else 0


def decoded(line: bytes) -> LogRecord | None:
    """Return the record of a line; `None` for one that a failing disk left unreadable."""
    try:
        return _decode(line)
    except msgspec.MsgspecError:
        return None
