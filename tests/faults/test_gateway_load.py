"""More load than there is room for (rows R18 and R20): readers that do not keep up, and ten times the requests.

The figures are printed; what is asserted does not depend on how fast the machine is: the time that admitted requests
take under ten times the load is compared with theirs without, in turns, and the best turn counts.
`MODELGRID_NIGHTLY=1` keeps the slow reader slow for a minute.
"""

import asyncio
import os
import random
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from gateway_kit import (
    COMPLETION,
    PATIENCE,
    STREAM_HEAD,
    Gateway,
    Peer,
    Seen,
    Upstream,
    gateway,
    json_answer,
    request,
)  # fmt: skip

NIGHTLY = os.environ.get("MODELGRID_NIGHTLY") == "1"
MEGABYTE = 1_000_000
TOTAL = 100 * MEGABYTE
SLOW_SECONDS = 60.0 if NIGHTLY else 4.0
CHAT = "/v1/chat/completions"
BLOCK = b"x" * 65_000
EVENT = b"data: " + b"x" * 4_000 + b"\n\n"


class Pours:
    """A replica that sends 100 MB as fast as it may: as one answer of known length, or as a stream of events."""

    def __init__(self, *, stream: bool) -> None:
        self.stream = stream
        self.sent = 0

    async def __call__(self, _: Seen, peer: Peer) -> None:
        if not self.stream:
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % TOTAL)
        else:
            await peer.send(STREAM_HEAD)
        while self.sent < TOTAL:
            piece = (EVENT if self.stream else BLOCK)[: TOTAL - self.sent]
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece) if self.stream else piece)
            self.sent += len(piece)
        if self.stream:
            await peer.send(b"0\r\n\r\n")


@pytest.mark.timeout(SLOW_SECONDS + 300)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_reader_of_1_kb_a_second_of_100_mb_pauses_the_replica(tmp_path: Path, stream: bool) -> None:
    pours = Pours(stream=stream)
    async with Upstream(pours) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        await grid.ask("GET", "/health")
        before = peak = grid.rss()
        loop, sock = asyncio.get_running_loop(), socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", grid.port))
        await loop.sock_sendall(sock, request("POST", CHAT, {"model": "m", "stream": stream}))
        got, until, stalled_at = 0, time.monotonic() + SLOW_SECONDS, [-1]
        while time.monotonic() < until:
            got += len(await asyncio.wait_for(loop.sock_recv(sock, 512), PATIENCE))
            await asyncio.sleep(0.5)
            peak = max(peak, grid.rss())
            stalled_at.append(pours.sent)
        held = pours.sent - got
        assert pours.sent < TOTAL
        assert stalled_at[-1] == stalled_at[-2], "the replica is paused while the client does not read"
        tail = b""
        while not (tail.endswith(b"0\r\n\r\n") if stream else got >= TOTAL):
            piece = await asyncio.wait_for(loop.sock_recv(sock, 1 << 20), PATIENCE)
            assert piece
            got, tail = got + len(piece), (tail + piece)[-5:]
            peak = max(peak, grid.rss())
        sock.close()
        assert got >= TOTAL
        kind = "stream" if stream else "answer"
        print(
            f"R18: {kind} of 100 MB at 1 KB/s for {SLOW_SECONDS:.0f} s: resident memory "
            f"+{(peak - before) / MEGABYTE:.1f} MB, {held / MEGABYTE:.1f} MB on their way in all buffers"
        )
        assert peak - before <= 10 * MEGABYTE
        await grid.idle()


PLACES, SERVICE_SECONDS = 8, 0.4
OVERLOAD = 10
LONGER = 1.5
"""How much longer admitted requests may take under overload: those in line wait for a place."""
TURNS = 4


@dataclass
class Told:
    """What clients were told in one phase; seconds of each answer."""

    admitted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)


def p50(times: list[float]) -> float:
    """Milliseconds."""
    return sorted(times)[len(times) // 2] * 1000


def p99(times: list[float]) -> float:
    """Milliseconds."""
    return sorted(times)[int(len(times) * 0.99)] * 1000


async def load(grid: Gateway, clients: int, seconds: float) -> Told:
    told, end = Told(), time.monotonic() + seconds

    async def one(number: int) -> None:
        await asyncio.sleep(SERVICE_SECONDS * number / clients)
        async with grid.client() as client:
            while time.monotonic() < end:
                began = time.monotonic()
                answer = await client.ask("POST", CHAT, {"model": "m", "messages": []})
                took = time.monotonic() - began
                if answer.status == 200:
                    told.admitted.append(took)
                    continue
                assert (answer.status, answer.code) == (503, "queue_full")
                assert int(answer.header("retry-after") or 0) >= 1
                told.refused.append(took)
                await asyncio.sleep(
                    SERVICE_SECONDS
                )  # so many ask again that ten times as much is asked for as there is

    await asyncio.gather(*(one(number) for number in range(clients)))
    return told


async def test_ten_times_the_load_is_refused_at_once_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    running = most = 0
    dice = random.Random(20)

    async def works(_: Seen, peer: Peer) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        # Of different lengths, as answers are: places of equal ones would all become free at once.
        await asyncio.sleep(SERVICE_SECONDS * dice.uniform(0.5, 1.5))
        running -= 1
        await peer.send(json_answer(COMPLETION))

    seconds = 30.0 if NIGHTLY else 3.0
    async with (
        Upstream(works) as upstream,
        gateway(tmp_path, upstream.replica(places=PLACES), queue_limit=PLACES // 4) as grid,
    ):
        for _ in range(TURNS):
            usual = await load(grid, PLACES, seconds)
            over = await load(grid, OVERLOAD * PLACES, seconds)
            longer = p99(over.admitted) / p99(usual.admitted)
            print(
                f"R20: admitted p50 {p50(usual.admitted):.0f}, p99 {p99(usual.admitted):.0f} ms at 1×; "
                f"{p50(over.admitted):.0f}, {p99(over.admitted):.0f} ms at {OVERLOAD}× ({longer:.2f}×); "
                f"{len(over.refused)} refused in {p50(over.refused):.1f}, {p99(over.refused):.1f} ms; "
                f"{len(over.admitted)} admitted, {len(usual.admitted)} at 1×"
            )
            assert usual.refused == []
            assert most <= PLACES + PLACES // 8, "a replica never holds more than it can work on"
            assert len(over.refused) > len(over.admitted)
            assert len(over.admitted) >= len(usual.admitted) / 2, (
                "who is refused does not keep the others from being served"
            )
            assert p50(over.refused) < SERVICE_SECONDS * 1000, "a refusal waits for no place"
            if longer <= LONGER:
                break
        assert longer <= LONGER
        await grid.idle()
