"""All figures of one gateway, one round."""

import asyncio
import json
import sys
from dataclasses import dataclass, field
from time import monotonic

from benchmarks.load import Load, Wrk
from benchmarks.machine import Tree, pinned

SMALL, MEDIUM, LARGE = 240, 10_240, 1_048_576
"""Bytes of a request body."""
CONNECTIONS = 32
STREAMS, CHUNKS = 200, 200
IDLE_STREAMS = 1000
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


@dataclass(slots=True)
class Figures:
    """Of one gateway. `wrong`: what was not answered as it should have been, by step; a clean run has none."""

    values: dict[str, float] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    def load(self, step: str, load: Load) -> Load:
        """Note what went wrong in `load`."""
        if load.wrong:
            self.wrong[step] = f"{load.wrong} answers were errors"
        return load


async def wait_until_serving(port: int, key: str, ended: "object", seconds: float) -> None:
    """Wait for the first 200 to a chat request. Raises RuntimeError when the gateway ends or time is over."""
    body = json.dumps({"model": "bench", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode()
    end, answer = monotonic() + seconds, b""
    while monotonic() < end:
        if callable(ended) and ended():
            raise RuntimeError("it ended while it started")
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + body)
            answer = await asyncio.wait_for(reader.read(4096), 10)
            writer.close()
        except (OSError, TimeoutError):
            answer = b""
        if answer[9:12] == b"200":
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"it did not serve within {seconds:.0f} s; its last answer: {answer[:200]!r}")


async def throughput(wrk: Wrk, port: int, seconds: float, figures: Figures, tree: Tree | None = None) -> None:
    """Requests per second and their times at 32 connections, for small and medium bodies; one connection alone."""
    before = tree.cpu_seconds() if tree is not None else 0.0
    small = figures.load("240 B", await wrk.run(port, size=SMALL, connections=CONNECTIONS, seconds=seconds, path=CHAT))
    if tree is not None:
        figures.values["cpu_us_per_request"] = (tree.cpu_seconds() - before) / max(small.requests, 1) * 1e6
    medium = figures.load(
        "10 KB", await wrk.run(port, size=MEDIUM, connections=CONNECTIONS, seconds=seconds, path=CHAT)
    )
    single = figures.load("1 connection", await wrk.run(port, size=SMALL, connections=1, seconds=2, path=CHAT))
    figures.values |= {
        "requests_per_second": small.per_second,
        "p50_us": small.p50,
        "p99_us": small.p99,
        "requests_per_second_10k": medium.per_second,
        "one_connection_p50_us": single.p50,
    }


async def large_bodies(wrk: Wrk, port: int, figures: Figures) -> None:
    """A body of 1 MB, alone on one connection."""
    large = await wrk.run(port, size=LARGE, connections=1, seconds=2, path=COMPLETIONS)
    figures.values["large_p50_us"] = figures.load("1 MB", large).p50


async def streams(port: int, key: str, core: int, tree: Tree | None, figures: Figures) -> None:
    """CPU per event of many streams."""
    before = tree.cpu_seconds() if tree is not None else 0.0
    result = await _streams(port, key, core, STREAMS, CHUNKS)
    if tree is not None:
        figures.values["stream_cpu_us_per_chunk"] = (tree.cpu_seconds() - before) / (STREAMS * CHUNKS) * 1e6
    figures.values["stream_seconds"] = result["seconds"]
    if result["wrong"]:
        figures.wrong["streams"] = f"{result['wrong']} of {STREAMS} streams were not whole"


async def idle_streams(port: int, key: str, core: int, tree: Tree, figures: Figures) -> None:
    """Memory per open stream that has had its first event and waits for the next."""
    before = tree.rss_bytes()
    argv = [sys.executable, "-m", "benchmarks.streams", str(port), key, str(IDLE_STREAMS), "0"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*pinned(core, argv), stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    assert process.stdin is not None
    opened = await process.stdout.readline()
    if opened == b"open\n":
        figures.values["idle_stream_kb"] = (tree.rss_bytes() - before) / IDLE_STREAMS / 1000
    process.stdin.close()
    rest = await process.stdout.read()
    await process.wait()
    wrong = json.loads(rest)["wrong"] if opened == b"open\n" else IDLE_STREAMS
    if wrong:
        figures.wrong["idle streams"] = f"{wrong} of {IDLE_STREAMS} streams were not open"


async def _streams(port: int, key: str, core: int, count: int, chunks: int) -> dict[str, float]:
    argv = [sys.executable, "-m", "benchmarks.streams", str(port), key, str(count), str(chunks)]
    process = await asyncio.create_subprocess_exec(*pinned(core, argv), stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    result: dict[str, float] = json.loads(out)
    return result
