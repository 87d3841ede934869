"""The log of an engine on disk: cut into lines, stamped, rotated. The watcher's side.

A line on disk is `<seconds since the epoch> <o|e> <text>`. The engine writes to pipes and the watcher to the
files, so a file can be renamed at any moment without the engine taking notice.
"""

# pathlib alone would cost the watcher about a megabyte, hence os and open.
# ruff: noqa: PTH104
import contextlib
import itertools
import os
import time

from modelgrid.adapters.runtime_process.files import log_paths

MAX_LINE_BYTES = 16 * 1024
"""Longer lines are cut into pieces, as Docker's log driver does."""


class LineCutter:
    """Cuts the bytes of one stream into lines. Progress bars end theirs with a carriage return: that counts."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        data = self._rest + data
        # A trailing CR may be the first half of CRLF: keep it until the next bytes are there.
        held = b"\r" if data.endswith(b"\r") else b""
        lines = data[: len(data) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop() + held
        whole: list[bytes] = []
        for line in lines:
            whole.extend(_pieces(line))
        while len(self._rest) > MAX_LINE_BYTES:
            whole.append(self._rest[:MAX_LINE_BYTES])
            self._rest = self._rest[MAX_LINE_BYTES:]
        return whole

    def end(self) -> list[bytes]:
        rest, self._rest = self._rest.rstrip(b"\r"), b""
        return [rest] if rest else []


def _pieces(line: bytes) -> list[bytes]:
    if len(line) <= MAX_LINE_BYTES:
        return [line]
    return [line[at : at + MAX_LINE_BYTES] for at in range(0, len(line), MAX_LINE_BYTES)]


class RotatingLog:
    """Writes lines and starts a new file before the current one exceeds `max_bytes`.

    A full disk never stops the engine: lines that cannot be written are counted, and the count is written
    when there is room again."""

    def __init__(self, path: str, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lost = 0
        self._open()

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._file).st_size

    def write(self, stream: str, lines: list[bytes]) -> None:
        if not lines:
            return
        stamp = f"{time.time():.3f} ".encode()
        head = stamp + stream[3:4].encode() + b" "
        data = b"".join(head + line + b"\n" for line in lines)
        count = len(lines)
        try:
            if self._size + len(data) > self._max_bytes and self._size > 0:
                self._rotate()
            if self._lost:
                note = stamp + b"e modelgrid: %d log lines were lost, the disk was full\n" % self._lost
                data, count = note + data, count + self._lost
            written = os.write(self._file, data)
            self._size += written
            if written < len(data):  # ENOSPC in the middle: end the line, so that the next one stays readable
                self._lost = 1 + data[written:].count(b"\n")
                self._size += os.write(self._file, b"\n")
            else:
                self._lost = 0
        except OSError:
            self._lost = max(self._lost, count)

    def _rotate(self) -> None:
        paths = log_paths(self._path)
        for older, newer in itertools.pairwise(paths):
            with contextlib.suppress(FileNotFoundError):
                os.rename(newer, older)
        os.close(self._file)
        self._open()

    def close(self) -> None:
        os.close(self._file)
