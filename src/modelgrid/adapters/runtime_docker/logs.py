"""The log stream of a container, taken apart into lines.

Frame: one byte stream number, three zero bytes, four bytes length, then the payload: a time stamp, a blank and
a (piece of a) line. Engine API, "Attach to a container", and `GET /containers/{id}/logs` with `timestamps`."""

import asyncio
import itertools
import struct
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import TYPE_CHECKING

from modelgrid.domain.engine import LogLine

if TYPE_CHECKING:
    import aiohttp

MAX_LINE_BYTES = 64 * 1024
"""Engines cut lines into pieces of 16 KiB, which are put together again up to this size."""
_STREAMS = {1: "stdout", 2: "stderr"}


async def read_frames(response: "aiohttp.ClientResponse") -> AsyncGenerator[LogLine]:
    """Yield each line until the engine closes the stream."""
    open_lines: dict[str, tuple[float, bytes]] = {}
    for number_of_frame in itertools.count(1):
        if number_of_frame % 200 == 0:  # what is buffered already is read without yielding to the loop
            await asyncio.sleep(0)
        try:
            number, length = struct.unpack(">BxxxL", await response.content.readexactly(8))
            payload = await response.content.readexactly(length)
        except asyncio.IncompleteReadError:
            break
        stream = _STREAMS.get(number, "stderr")
        stamp, _, piece = payload.partition(b" ")
        at, begun = open_lines.pop(stream, (parse_time(stamp.decode("ascii", "replace")) or 0.0, b""))
        line = begun + piece
        if not piece.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
            open_lines[stream] = (at, line)
            continue
        yield _line(at, stream, line)
    for stream, (at, line) in open_lines.items():
        yield _line(at, stream, line)


def _line(at: float, stream: str, line: bytes) -> LogLine:
    return LogLine(at=at, stream=stream, text=line.rstrip(b"\r\n").decode("utf-8", "replace"))


def parse_time(text: str) -> float | None:
    """Return an engine's RFC 3339 time in seconds since the epoch; `None` for its "never" (year 1) or nonsense."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.timestamp() if time.year > 1 and time.tzinfo is not None else None
