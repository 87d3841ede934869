"""The segments of a folder as one archive: bounded in bytes and age, and never what fills the disk."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from modelgrid.adapters.log_files.segment import SUFFIX, Segment
from modelgrid.domain.log import LogRecord
from modelgrid.domain.log_filter import LogFilter
from modelgrid.domain.units import MIB
from modelgrid.ports.log_archive import ArchivePage

GAP = 100_000
"""After a crash numbering goes on so much higher: more records than can have been on their way to the disk."""

LINES_AT_ONCE = 2_000
"""The writing thread encodes so many without a pause."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Whichever is reached first removes the oldest segment."""

    total_bytes: int = 256 * MIB
    segment_bytes: int = 4 * MIB
    age_seconds: float = 14 * 86_400.0
    share_of_disk: float = 0.25
    """Of the file system's size: a small disk gets a small archive."""
    free_share: float = 0.05
    """Of the file system that logs leave free for the state, 1 GiB at most."""


class NoRoom(OSError):
    """The disk is nearly full: what is left of it belongs to the state."""


class LogFiles:
    """See `ports.log_archive.LogArchive`. Files are readable by the daemon's user only."""

    def __init__(self, folder: Path, bounds: Bounds | None = None, now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._bounds = bounds or Bounds()
        self._now = now
        self._segments: list[Segment] = []
        self._file = -1

    def open(self) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        noted = True
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            segment = Segment(path)
            noted = segment.load()
            if segment.note.size:
                self._segments.append(segment)
            else:
                segment.remove()
        self._prune()
        last = self._segments[-1].note.last_seq if self._segments else 0
        return last if noted else last + GAP

    def append(self, records: Sequence[LogRecord]) -> int:
        """Keep as many as go into one file."""
        lines = [_encode(record) for record in records[:LINES_AT_ONCE]]
        size, room = 0, self._segment_bytes()
        for count, line in enumerate(lines):
            size += len(line) + 1
            if count and size > room:
                del lines[count:]
                break
        self._write(records[: len(lines)], b"\n".join([*lines, b""]))
        return len(lines)

    def _write(self, records: Sequence[LogRecord], data: bytes) -> None:
        self._make_room(len(data))
        segment = self._open_segment(records[0].seq, len(data))
        size = segment.note.size
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            os.ftruncate(self._file, size)
            raise
        segment.note.take(records, size + len(data))

    def last(self, before: int, limit: int, wanted: LogFilter, in_time: Callable[[], bool]) -> ArchivePage:
        found: list[LogRecord] = []
        reached = before
        for segment in reversed(tuple(self._segments)):
            if segment.note.first_seq >= before or not segment.may_hold(wanted):
                continue
            for record in segment.backwards(before, in_time):
                if record is None:
                    return ArchivePage(records=tuple(reversed(found)), complete=False, reached=reached)
                reached = record.seq
                if wanted.matches(record):
                    found.append(record)
                    if len(found) == limit:
                        return ArchivePage(records=tuple(reversed(found)), complete=True, reached=reached)
        return ArchivePage(records=tuple(reversed(found)), complete=True, reached=0)

    def following(self, after: int, limit: int, wanted: LogFilter, in_time: Callable[[], bool]) -> ArchivePage:
        found: list[LogRecord] = []
        reached = after
        for segment in tuple(self._segments):
            if segment.note.last_seq <= after:
                continue
            last_seq = segment.note.last_seq
            for record in segment.forwards(after, in_time) if segment.may_hold(wanted) else ():
                if record is None:
                    return ArchivePage(records=tuple(found), complete=False, reached=reached)
                reached = record.seq
                if wanted.matches(record):
                    found.append(record)
                    if len(found) == limit:
                        return ArchivePage(records=tuple(found), complete=True, reached=reached)
            reached = max(reached, last_seq)
        return ArchivePage(records=tuple(found), complete=True, reached=reached)

    def close(self) -> None:
        self._seal()

    def _open_segment(self, first_seq: int, coming: int) -> Segment:
        """Return the segment that takes `coming` more bytes, open for writing. Raises `OSError`."""
        present = self._segments[-1] if self._segments else None
        if present is not None and present.note.size + coming > self._segment_bytes():
            self._seal()
            present = None
        if present is None:
            present = Segment.named(self._folder, first_seq)
        if self._file < 0:
            self._file = os.open(present.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if present not in self._segments:
            self._segments.append(present)
        return present

    def _seal(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._segments[-1].write_note()

    def _make_room(self, coming: int) -> None:
        """Remove the oldest segments until `coming` bytes fit. Raises `NoRoom` when that is not enough."""
        self._prune(coming)
        while not self._fits(coming):
            if len(self._segments) < 2:
                raise NoRoom("the disk is nearly full; what is left is kept for the state")
            self._segments.pop(0).remove()

    def _fits(self, coming: int) -> bool:
        disk = os.statvfs(self._folder)
        reserve = min(disk.f_blocks * disk.f_frsize * self._bounds.free_share, 1024 * MIB)
        return disk.f_bavail * disk.f_frsize - coming >= reserve

    def _prune(self, coming: int = 0) -> None:
        most = self._total_bytes()
        oldest = self._now() - self._bounds.age_seconds
        while len(self._segments) > 1 and (
            sum(segment.note.size for segment in self._segments) + coming > most
            or self._segments[0].note.last_at < oldest
        ):
            self._segments.pop(0).remove()

    def _total_bytes(self) -> int:
        disk = os.statvfs(self._folder)
        return min(self._bounds.total_bytes, int(disk.f_blocks * disk.f_frsize * self._bounds.share_of_disk))

    def _segment_bytes(self) -> int:
        return min(self._bounds.segment_bytes, self._total_bytes() // 4)
