"""Many consoles on the stream, as cheap as they can be, and how far apart they hear the same event."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast


@dataclass(slots=True)
class Heard:
    """When each event was heard first and last, by its id, over all consoles that read."""

    first: dict[bytes, float] = field(default_factory=dict)
    furthest_behind: float = 0.0
    """Seconds between the first and the last console that heard one event; the worst of all events."""
    frames: int = 0
    wrong: str = ""
    """What a console got that it should not get; empty when all is well."""


class Console(asyncio.Protocol):
    """One connection. Counts frames; notes the last id of each piece that arrives."""

    def __init__(self, request: bytes, heard: Heard) -> None:
        self._request = request
        self._heard = heard
        self.closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        heard, now = self._heard, time.monotonic()
        heard.frames += data.count(b"\nevent: change\n")
        begin = data.rfind(b"id: ")
        if begin >= 0:
            identity = data[begin : data.find(b"\n", begin)]
            behind = now - heard.first.setdefault(identity, now)
            heard.furthest_behind = max(heard.furthest_behind, behind)
        if b"\nevent: lagged\n" in data or b"\nevent: reset\n" in data:
            heard.wrong = "a console that reads was cut off or reset"

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closing:
            self._heard.wrong = f"a stream ended: {exc or 'closed by the daemon'}"

    def close(self) -> None:
        self.closing = True
        self._transport.abort()

    def stop_reading(self) -> None:
        self._transport.pause_reading()


async def connect(port: int, token: str, topics: str, heard: Heard) -> Console:
    """Open one stream on 127.0.0.1."""
    request = (
        f"GET /v1/_ui/events?topics={topics} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode()
    _, console = await asyncio.get_running_loop().create_connection(lambda: Console(request, heard), "127.0.0.1", port)
    return console
