"""Reads the log of an engine back: the last lines, then each new one, across rotations."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import BinaryIO

from modelgrid.adapters.runtime_process.files import log_paths
from modelgrid.domain.engine import LogLine

FOLLOW_SECONDS = 0.2
"""How often a followed log is looked at. Reading what is not there costs two system calls."""
BLOCK_BYTES = 256 * 1024
_STREAMS = {b"o": "stdout", b"e": "stderr"}


def parse_line(line: bytes, last_at: float) -> LogLine:
    """Return one line of a log file. A line without its head (the watcher's own last words) keeps `last_at`."""
    stamp, _, rest = line.partition(b" ")
    mark, _, text = rest.partition(b" ")
    stream = _STREAMS.get(mark)
    try:
        at = float(stamp)
    except ValueError:
        stream = None
    if stream is None:
        return LogLine(at=last_at, stream="stderr", text=line.decode("utf-8", "replace"))
    return LogLine(at=at, stream=stream, text=text.decode("utf-8", "replace"))


class LogReader:
    """One reader of one log. Its methods block on the disk and run in a thread, one at a time."""

    def __init__(self, path: str) -> None:
        self._paths = log_paths(path)
        self._file: BinaryIO | None = None
        self._inode = 0
        self._rest = b""
        self._last_at = 0.0

    def tail(self, count: int) -> list[LogLine]:
        """Return the last `count` lines; `more` goes on from there."""
        for path in reversed(self._paths):
            try:
                file = Path(path).open("rb")  # noqa: SIM115  (closed by `close`)
            except FileNotFoundError:
                continue
            self.close()
            self._file, self._inode = file, os.fstat(file.fileno()).st_ino
            count_here = _seek_lines(file, count)
            if count_here >= count:
                break
            count -= count_here
        lines: list[LogLine] = []
        while batch := self.more():
            lines.extend(batch)
        return lines

    def more(self) -> list[LogLine]:
        """Return the lines that came since; empty when there is none at present."""
        lines: list[LogLine] = []
        while not lines:
            if self._file is None and not self._open_next():
                return []
            assert self._file is not None  # noqa: S101
            # Rotation is noticed before the read: what the writer put into the old file is then all there.
            rotated = self._rotated()
            data = self._rest + self._file.read(BLOCK_BYTES)
            *whole, self._rest = data.split(b"\n")
            for line in whole:
                parsed = parse_line(line, self._last_at)
                self._last_at = parsed.at
                lines.append(parsed)
            if not whole:
                if not rotated:
                    return []
                self.close()
        return lines

    def _rotated(self) -> bool:
        try:
            return Path(self._paths[-1]).stat().st_ino != self._inode
        except FileNotFoundError:  # between the rename and the opening of the new file, or removed
            return False

    def _open_next(self) -> bool:
        """Open the file that follows the one that was read to its end; the oldest when that one is gone."""
        inodes = [_inode(path) for path in self._paths]
        following = inodes.index(self._inode) + 1 if self._inode in inodes and self._inode else 0
        for path, inode in zip(self._paths[following:], inodes[following:], strict=True):
            if inode:
                try:
                    self._file = Path(path).open("rb")  # noqa: SIM115  (closed by `close`)  # noqa: SIM115  (closed by `close`)
                except FileNotFoundError:
                    return False
                self._inode = os.fstat(self._file.fileno()).st_ino
                self._rest = b""
                return True
        return False

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _seek_lines(file: BinaryIO, count: int) -> int:
    """Go to the start of the last `count` lines, or of the file when it has fewer; return how many follow."""
    position = file.seek(0, os.SEEK_END)
    found = 0
    if count <= 0:
        return 0
    while position > 0:
        size = min(BLOCK_BYTES, position)
        file.seek(position - size)
        block = file.read(size)
        end = size
        while (end := block.rfind(b"\n", 0, end)) >= 0:
            if found == count:
                file.seek(position - size + end + 1)
                return count
            found += 1
        position -= size
    file.seek(0)
    return found


def _inode(path: str) -> int:
    try:
        return Path(path).stat().st_ino
    except FileNotFoundError:
        return 0


async def read_log(path: str, *, tail: int, follow: bool, running: Callable[[], bool]) -> AsyncGenerator[LogLine]:
    """Yield the last `tail` lines of the log at `path`, then with `follow` each new one while `running()`.

    `running` is called in a thread and may block."""
    reader = LogReader(path)
    try:
        for line in await asyncio.to_thread(reader.tail, tail):
            yield line
        while follow:
            # Asked before the read: what the engine wrote before its end is then read below.
            going_on = await asyncio.to_thread(running)
            while lines := await asyncio.to_thread(reader.more):
                for line in lines:
                    yield line
            if not going_on:
                return
            await asyncio.sleep(FOLLOW_SECONDS)
    finally:
        reader.close()
