"""Many event streams through a gateway, counted. `python -m benchmarks.streams PORT KEY COUNT CHUNKS` prints JSON.

With CHUNKS 0 the streams stay idle after their first event: a line `open` is printed when all have it, and the end of
standard input closes them.
"""

import asyncio
import json
import resource
import sys
from time import perf_counter
from typing import Any, cast

import uvloop

SPREAD_SECONDS = 0.02
"""Streams start spread over one interval of the upstream, so that their events do not come in one burst."""


class Stream(asyncio.Protocol):
    """One client: counts events as they arrive, by their text."""

    def __init__(self, request: bytes, opened: asyncio.Semaphore) -> None:
        self._request = request
        self._opened = opened
        self._head = b""
        self._tail = b""
        self.events = 0
        self.ok = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        first = self.events == 0
        text = self._tail + data
        self.events += text.count(b"data: ") - self._tail.count(b"data: ")
        self._tail = text[-32:]
        if first and self.events:
            self.ok = b" 200 " in (self._head + data)[:16]
            self._opened.release()
        elif first:
            self._head += data
        if b"data: [DONE]" in text and not self.done.done():
            self.events -= 1
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.ok = False
            self.done.set_result(None)
            self._opened.release()


def request(key: str, chunks: int) -> bytes:
    body: dict[str, Any] = {
        "model": "bench", "prompt": "Tell me something of the usual length, in plain words.", "stream": True,
        "max_tokens": chunks or 10, "user": "" if chunks else "idle",
    }  # fmt: skip
    payload = json.dumps(body).encode()
    return (
        f"POST /v1/completions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    ).encode() + payload


async def run(port: int, key: str, count: int, chunks: int) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    opened = asyncio.Semaphore(0)
    began = perf_counter()
    streams: list[Stream] = []
    for _ in range(count):
        _, stream = await loop.create_connection(lambda: Stream(request(key, chunks), opened), "127.0.0.1", port)
        streams.append(stream)
        await asyncio.sleep(SPREAD_SECONDS / count)
    if chunks:
        await asyncio.wait([stream.done for stream in streams], timeout=120)
    else:
        async with asyncio.timeout(120):
            for _ in range(count):
                await opened.acquire()
        print("open", flush=True)
        await loop.run_in_executor(None, sys.stdin.read)
    wanted = chunks or 1
    result = {
        "streams": count,
        "events": sum(stream.events for stream in streams),
        "wrong": sum(not stream.ok or stream.events != wanted for stream in streams),
        "seconds": perf_counter() - began,
    }
    for stream in streams:
        stream.transport.abort()
    return result


def main() -> None:
    port, key, count, chunks = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(run(port, key, count, chunks))))


if __name__ == "__main__":
    main()
