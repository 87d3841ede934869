"""What a client of the gateway notices of logins to the console.

50 people log in at once, again and again, each from an address of its own (127.0.0.2 and up), so that no throttle
spares the work: every login costs a hash, a session in the store and an entry in the audit log. They do it in turns
with quiet, and with as many logins of a user whose hash is worth next to nothing: what is between those two is
answering, what is between the latter and the real ones is hashing.

The clients that measure, and those that log in, are processes of their own (`python -m benchmarks.logins clients|people
PORT …`); in reality they are on other machines.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import uvloop
from argon2 import PasswordHasher

from benchmarks.fleet import SERVED, Daemon
from benchmarks.machine import ROOT
from modelgrid.adapters.store_sql import open_store
from modelgrid.domain.access import User

PEOPLE = 50
PACE_SECONDS = 2.5
"""From one login of a person to the next."""
ROUNDS = 4
STREAMS = 8
"""At a time, each of `TOKENS` tokens."""
TOKENS = 32
PASSWORD = "a sentence of some length"
ADMIN, CHEAP = "admin", "cheap"
PAUSE_SECONDS = 1.0
"""Between quiet and logins, so that neither reaches into the other."""


@dataclass(frozen=True, slots=True)
class Row:
    """99 of 100 took no longer, in seconds: medians of the rounds; and medians of the ratios within one round."""

    name: str
    quiet: float
    cheap: float
    hashed: float
    answering: float
    """Cheap logins to quiet."""
    hashing: float
    """Real logins to cheap ones."""
    both: float


@dataclass(frozen=True, slots=True)
class Found:
    rows: Sequence[Row]
    cheap_per_second: float
    per_second: float
    """Logins."""


@dataclass(frozen=True, slots=True)
class _Round:
    """99 of 100 took no longer, in seconds."""

    first: float
    """From a request to its first token."""
    gaps: float
    """Between two tokens."""


async def measure(daemon: Daemon, seconds: float) -> Found:
    """Run quiet, cheap logins and real ones in turns of `seconds` each."""
    key = await _ready(daemon)
    rounds: list[tuple[_Round, _Round, _Round]] = []
    logins = {CHEAP: 0, ADMIN: 0}
    for _ in range(ROUNDS):
        quiet = await _traffic(daemon, key, seconds)
        found = [quiet]
        for user in (CHEAP, ADMIN):
            people = asyncio.create_task(
                _in_a_process("people", daemon.ports.console, user, seconds + 2 * PAUSE_SECONDS)
            )
            await asyncio.sleep(PAUSE_SECONDS)
            found.append(await _traffic(daemon, key, seconds))
            logins[user] += int(await people)
            await asyncio.sleep(PAUSE_SECONDS)
        rounds.append((found[0], found[1], found[2]))
    passed = ROUNDS * (seconds + 2 * PAUSE_SECONDS)
    rows = [
        _row("first token", [(q.first, c.first, h.first) for q, c, h in rounds]),
        _row("between two tokens", [(q.gaps, c.gaps, h.gaps) for q, c, h in rounds]),
    ]
    return Found(rows, logins[CHEAP] / passed, logins[ADMIN] / passed)


def _row(name: str, rounds: Sequence[tuple[float, float, float]]) -> Row:
    quiet, cheap, hashed = (statistics.median(values) for values in zip(*rounds, strict=True))
    return Row(
        name=name,
        quiet=quiet,
        cheap=cheap,
        hashed=hashed,
        answering=statistics.median(c / q for q, c, _ in rounds),
        hashing=statistics.median(h / c for _, c, h in rounds),
        both=statistics.median(h / q for q, _, h in rounds),
    )


async def _ready(daemon: Daemon) -> str:
    """Choose a password instead of the one-time one, add the user whose hash is cheap; return an API key."""
    secret = await asyncio.to_thread(_choose_password, daemon)
    store = await open_store(f"sqlite:///{daemon.state / 'state.db'}")
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    await store.put_user(User(name=CHEAP, password_hash=cheap.hash(PASSWORD), updated_at=time.time()))
    await store.close()
    await asyncio.sleep(PAUSE_SECONDS)
    return secret


def _choose_password(daemon: Daemon) -> str:
    with daemon.client() as client:
        client.set_password(ADMIN, {"password": PASSWORD})
        secret: str = client.generate_api_key({"label": "benchmark"})["secret"]
    return secret


async def _traffic(daemon: Daemon, key: str, seconds: float) -> _Round:
    return _Round(**json.loads(await _in_a_process("clients", daemon.ports.api, key, seconds)))


async def _in_a_process(*arguments: object) -> bytes:
    argv = [sys.executable, "-m", "benchmarks.logins", *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the benchmark's {arguments[0]} failed")
    return out


async def _clients(port: int, key: str, seconds: float) -> _Round:
    first: list[float] = []
    gaps: list[float] = []
    until = time.monotonic() + seconds
    await asyncio.gather(*(_client(port, key, until, first, gaps) for _ in range(STREAMS)))
    return _Round(_p99(first), _p99(gaps))


async def _client(port: int, key: str, until: float, first_tokens: list[float], gaps: list[float]) -> None:
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
                    (first_tokens if first else gaps).append(now - last)
                    last, first = now, False
            while (await reader.readline()).strip() != b"0":
                pass
            await reader.readline()
    finally:
        writer.close()


async def _people(port: int, user: str, seconds: float) -> int:
    until = time.monotonic() + seconds
    return sum(await asyncio.gather(*(_person(port, user, f"127.0.0.{n + 2}", until) for n in range(PEOPLE))))


async def _person(port: int, user: str, address: str, until: float) -> int:
    """Log in over and over from `address`; return how often it worked."""
    body = json.dumps({"user": user, "password": PASSWORD}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    done, begin = 0, time.monotonic()
    try:
        while begin < until:
            await asyncio.sleep(begin - time.monotonic())
            writer.write(_post(port, "/v1/_ui/login", body, "Sec-Fetch-Site: same-origin\r\n"))
            status = await reader.readline()
            if b" 200 " not in status:
                raise RuntimeError(f"a login was refused: {status!r}")
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            done += 1
            begin = max(begin + PACE_SECONDS, time.monotonic())
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


def main(role: str, port: str, whose: str, seconds: str) -> None:
    if role == "people":
        print(uvloop.run(_people(int(port), whose, float(seconds))))
    else:
        print(json.dumps(asdict(uvloop.run(_clients(int(port), whose, float(seconds))))))


if __name__ == "__main__":
    main(*sys.argv[1:])
