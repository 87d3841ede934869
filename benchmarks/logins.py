"""What a client of the gateway notices of logins to the console.

50 people log in over and over, each from an address of its own (127.0.0.2 and up), so that no throttle spares the
work: every try costs one argon2id hash, a session in the store and an entry in the audit log. The client that measures
is a process of its own (`python -m benchmarks.logins PORT KEY SECONDS`).
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import uvloop

from benchmarks.fleet import SERVED, Daemon
from benchmarks.machine import ROOT

PEOPLE = 50
ROUNDS = 3
STREAMS = 8
"""At a time, each of `TOKENS` tokens."""
TOKENS = 32
PASSWORD = "a sentence of some length"
PAUSE_SECONDS = 1.0
"""Between quiet and logins, so that neither reaches into the other."""


@dataclass(frozen=True, slots=True)
class Found:
    rows: Sequence[tuple[str, float, float, float]]
    """What, its p99 in seconds while it is quiet and with logins, and the median ratio of the two within one round."""
    per_second: float
    """Logins."""


@dataclass(frozen=True, slots=True)
class _Round:
    first: list[float]
    """Seconds from a request to its first token."""
    gaps: list[float]
    """Seconds between two tokens."""


async def measure(daemon: Daemon, seconds: float) -> Found:
    """Run quiet and logins in turns of `seconds` each."""
    key = await asyncio.to_thread(_ready, daemon)
    pairs: list[tuple[_Round, _Round]] = []
    logins = 0
    for _ in range(ROUNDS):
        quiet = await _traffic(daemon, key, seconds)
        until = time.monotonic() + seconds + 2 * PAUSE_SECONDS
        people = [asyncio.create_task(_person(daemon, f"127.0.0.{number + 2}", until)) for number in range(PEOPLE)]
        await asyncio.sleep(PAUSE_SECONDS)
        busy = await _traffic(daemon, key, seconds)
        logins += sum(await asyncio.gather(*people))
        pairs.append((quiet, busy))
        await asyncio.sleep(PAUSE_SECONDS)
    rows = []
    for name, of in (("first token", lambda r: r.first), ("between two tokens", lambda r: r.gaps)):
        quiets, busies = [_p99(of(quiet)) for quiet, _ in pairs], [_p99(of(busy)) for _, busy in pairs]
        ratio = statistics.median(b / q for q, b in zip(quiets, busies, strict=True))
        rows.append((name, statistics.median(quiets), statistics.median(busies), ratio))
    return Found(rows, logins / (ROUNDS * (seconds + 2 * PAUSE_SECONDS)))


def _ready(daemon: Daemon) -> str:
    """Choose a password instead of the one-time one; return an API key."""
    with daemon.client() as client:
        client.set_password("admin", {"password": PASSWORD})
        secret: str = client.generate_api_key({"label": "benchmark"})["secret"]
    time.sleep(PAUSE_SECONDS)
    return secret


async def _traffic(daemon: Daemon, key: str, seconds: float) -> _Round:
    argv = [sys.executable, "-m", "benchmarks.logins", str(daemon.ports.api), key, str(seconds)]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError("the gateway's clients failed")
    return _Round(**json.loads(out))


async def _clients(port: int, key: str, seconds: float) -> _Round:
    found = _Round([], [])
    until = time.monotonic() + seconds
    await asyncio.gather(*(_client(port, key, until, found) for _ in range(STREAMS)))
    return found


async def _client(port: int, key: str, until: float, found: _Round) -> None:
    body = json.dumps({"model": SERVED, "prompt": "Count.", "max_tokens": TOKENS, "stream": True}).encode()
    request = _post(port, "/v1/completions", body, f"Authorization: Bearer {key}\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while time.monotonic() < until:
            writer.write(request)
            last, first = time.perf_counter(), True
            if b" 200 " not in await reader.readline():
                raise RuntimeError("the gateway refused a request of the benchmark")
            while not (line := await reader.readline()).startswith(b"data: [DONE]"):
                if not line:
                    raise RuntimeError("the gateway cut off a stream of the benchmark")
                if line.startswith(b"data: "):
                    now = time.perf_counter()
                    (found.first if first else found.gaps).append(now - last)
                    last, first = now, False
            while (await reader.readline()).strip() != b"0":
                pass
            await reader.readline()
    finally:
        writer.close()


async def _person(daemon: Daemon, address: str, until: float) -> int:
    """Log in over and over from `address`; return how often it worked."""
    body = json.dumps({"user": "admin", "password": PASSWORD}).encode()
    port, done = daemon.ports.console, 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        while time.monotonic() < until:
            writer.write(_post(port, "/v1/_ui/login", body, "Sec-Fetch-Site: same-origin\r\n"))
            status = await reader.readline()
            if b" 200 " not in status:
                raise RuntimeError(f"a login was refused: {status!r}")
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            done += 1
    finally:
        writer.close()
    return done


def _post(port: int, path: str, body: bytes, headers: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _p99(values: list[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_clients(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))))))
