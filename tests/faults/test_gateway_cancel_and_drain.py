"""Clients that go away, and gateways that end while requests run."""

import asyncio
import random
import signal
import sys
import time
from pathlib import Path
from statistics import median

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from gateway_kit import (
    PATIENCE,
    STREAM_HEAD,
    Client,
    Peer,
    Seen,
    Upstream,
    answers,
    close_all,
    gateway,
    model,
    request,
    until,
)

from modelgrid.domain.routing import ReplicaState

CHAT = "/v1/chat/completions"
STREAM = {"model": "m", "stream": True}


class Holding:
    """A replica that starts answers and waits; it knows when the gateway hung up."""

    def __init__(self) -> None:
        self.aborted = 0
        self.active = 0
        self.finish = asyncio.Event()

    async def script(self, seen: Seen, peer: Peer) -> None:
        self.active += 1
        try:
            if b"stream" in seen.body:
                await peer.send(STREAM_HEAD)
                await peer.event("first")
            gone = asyncio.ensure_future(peer.gone())
            finish = asyncio.ensure_future(self.finish.wait())
            await asyncio.wait({gone, finish}, return_when=asyncio.FIRST_COMPLETED)
            finish.cancel()
            if gone.done():
                self.aborted += 1
                peer.close()
                return
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            await peer.event("[DONE]")
            await peer.send(b"0\r\n\r\n")
        finally:
            self.active -= 1


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("stream", [True, False], ids=["after the first byte", "before the first byte"])
async def test_a_client_that_leaves_aborts_the_replica_at_once(tmp_path: Path, how: str, stream: bool) -> None:
    holding, number = Holding(), 5

    async def leave(port: int) -> float:
        """Return how long the replica goes on after the client of `port` has left."""
        seen, aborted = len(upstream.seen), holding.aborted
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        await client.send(request("POST", CHAT, STREAM if stream else {"model": "m"}))
        if stream:
            await client.head()
        await until(lambda: len(upstream.seen) > seen, "request at the replica")
        left = time.perf_counter()
        if how == "reset":
            client.reset()
        await client.close()
        await until(lambda: holding.aborted > aborted, "replica aborted")
        return time.perf_counter() - left

    async with Upstream(holding.script) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        times = [(await leave(grid.port), await leave(upstream.port)) for _ in range(number)]
        through, direct = (median(column) for column in zip(*times, strict=True))
        print(
            f"R19: client gone ({how}): replica aborted after {through * 1000:.1f} ms "
            f"(median; {direct * 1000:.1f} ms without a gateway)"
        )
        assert through < direct + 0.1
        await grid.idle()
        figures = await grid.metrics()
        cancelled = [value for name, value in figures.items() if "requests_total" in name and "cancelled" in name]
        assert cancelled == [number]


async def test_500_cancels_leave_nothing_behind(tmp_path: Path) -> None:
    holding = Holding()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    total, worst = 500, 0.0
    async with Upstream(holding.script) as upstream, gateway(tmp_path, upstream.replica()) as grid:

        async def one(number: int) -> None:
            async with grid.client() as client:
                raw = request("POST", CHAT, STREAM if number % 2 else {"model": "m"})
                kind = number % 5
                await client.send(raw[: dice.randrange(1, len(raw))] if kind == 4 else raw)
                if kind in {1, 3}:
                    await asyncio.sleep(dice.random() * 0.05)
                if number % 3 == 0:
                    client.reset()

        for start in range(0, total, 50):
            await asyncio.gather(*(one(number) for number in range(start, start + 50)))
            left = time.perf_counter()
            await until(lambda: holding.active == 0, "every request at the replica aborted")
            worst = max(worst, time.perf_counter() - left)
        print(f"R19: 500 cancels: replica free again within {worst * 1000:.0f} ms, in flight 0")
        assert worst < 1.0
        await grid.idle()
        assert (await grid.metrics())["modelgrid_client_connections"] == 1
        await grid.publish(model("m", (upstream.replica(),)))
        holding.finish.set()
        assert (await grid.ask("POST", CHAT, STREAM)).complete


async def test_cancels_while_connecting_and_in_the_queue(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path) as grid:
        for _ in range(50):
            async with grid.client() as client:
                await client.send(request("POST", CHAT, {"model": "m"}))
        await grid.idle()
        await grid.serve(upstream.replica())
        for _ in range(50):
            async with grid.client() as client:
                await client.send(request("POST", CHAT, {"model": "m"}))
                client.reset()
        await grid.idle()
        assert (await grid.chat()).status == 200


async def test_sigterm_with_200_streams_lets_them_finish(tmp_path: Path) -> None:
    holding = Holding()
    async with Upstream(holding.script) as upstream, gateway(tmp_path, upstream.replica(), drain_seconds=15) as grid:
        streams = [await asyncio.open_connection("127.0.0.1", grid.port) for _ in range(200)]
        for _, writer in streams:
            writer.write(request("POST", CHAT, STREAM))
        for reader, _ in streams:
            await asyncio.wait_for(reader.readuntil(b"data: first\n\n"), PATIENCE)
        async with grid.client() as idle:
            assert (await idle.ask("GET", "/health")).status == 200
            assert grid.process is not None
            grid.process.send_signal(signal.SIGTERM)
            assert await idle.closed() == b""  # idle connections are closed at once
        await until(lambda: grid.reports[-1].draining, "control knows")
        started = time.perf_counter()
        holding.finish.set()
        for reader, _ in streams:
            rest = await asyncio.wait_for(reader.read(), PATIENCE)
            assert rest.endswith(b"0\r\n\r\n")
            assert b"[DONE]" in rest
            assert b"error" not in rest
        await close_all(streams)
        assert await asyncio.wait_for(grid.process.wait(), PATIENCE) == 0
        print(
            f"R14: SIGTERM with 200 streams: all complete, exit 0 {time.perf_counter() - started:.2f} s after the last"
        )


async def test_sigterm_ends_what_does_not_finish_with_an_error(tmp_path: Path) -> None:
    holding = Holding()
    async with Upstream(holding.script) as upstream, gateway(tmp_path, upstream.replica(), drain_seconds=1) as grid:
        async with grid.client() as streaming, grid.client() as waiting:
            await streaming.send(request("POST", CHAT, STREAM))
            await streaming.head()
            await streaming.reader.readuntil(b"data: first\n\n")
            await waiting.send(request("POST", CHAT, {"model": "m"}))
            await until(lambda: len(upstream.seen) == 2, "both at the replica")
            started = time.perf_counter()
            assert grid.process is not None
            grid.process.send_signal(signal.SIGTERM)
            answer = await waiting.response()
            assert (answer.status, answer.code, answer.header("retry-after")) == (503, "gateway_restarting", "1")
            rest = await streaming.closed()
            assert b'data: {"error":{' in rest
            assert rest.endswith(b"0\r\n\r\n")
            assert b"[DONE]" not in rest
            assert await asyncio.wait_for(grid.process.wait(), PATIENCE) == 0
            took = time.perf_counter() - started
            print(f"R14: SIGTERM with drain of 1 s: exit 0 after {took:.2f} s")
            assert took <= 1 + 2
        await until(lambda: holding.aborted == 2, "the replica was told")


async def test_a_second_sigterm_does_not_wait(tmp_path: Path) -> None:
    holding = Holding()
    async with Upstream(holding.script) as upstream:  # noqa: SIM117 (the gateway ends first)
        async with gateway(tmp_path, upstream.replica(), drain_seconds=60) as grid, grid.client() as client:
            await client.send(request("POST", CHAT, STREAM))
            await client.head()
            assert grid.process is not None
            grid.process.send_signal(signal.SIGTERM)
            await until(lambda: grid.reports[-1].draining, "draining")
            grid.process.send_signal(signal.SIGTERM)
            assert b"gateway_restarting" in await client.closed()
            assert await asyncio.wait_for(grid.process.wait(), PATIENCE) == 0


async def test_a_successor_takes_over_the_socket_while_the_old_process_drains(tmp_path: Path) -> None:
    holding = Holding()
    async with Upstream(holding.script) as upstream:  # noqa: SIM117 (the gateway ends first)
        async with gateway(tmp_path, upstream.replica(), drain_seconds=15) as grid, grid.client() as client:
            await client.send(request("POST", CHAT, STREAM))
            await client.head()
            old = grid.process
            assert old is not None
            old.send_signal(signal.SIGTERM)
            await until(lambda: grid.reports[-1].draining, "draining")
            await grid.start()
            assert (await grid.ask("GET", "/health", key=None)).status == 200
            assert old.returncode is None
            holding.finish.set()
            assert (await grid.ask("POST", CHAT, STREAM)).complete
            rest = await client.closed()
            assert b"[DONE]" in rest
            assert await asyncio.wait_for(old.wait(), PATIENCE) == 0


async def test_a_draining_replica_finishes_what_it_has(tmp_path: Path) -> None:
    holding = Holding()
    async with Upstream(holding.script) as old, Upstream(answers) as new, gateway(tmp_path, old.replica()) as grid:
        streams = [asyncio.create_task(grid.ask("POST", CHAT, STREAM)) for _ in range(50)]
        await until(lambda: len(old.seen) == 50, "50 streams")
        await grid.serve(old.replica(state=ReplicaState.DRAINING), new.replica())
        for _ in range(10):
            assert (await grid.chat()).status == 200
        assert len(old.seen) == 50
        await grid.serve(new.replica())  # it leaves the table while its streams still run
        holding.finish.set()
        finished = await asyncio.gather(*streams)
        assert all(answer.complete and b"[DONE]" in answer.body for answer in finished)
        await grid.idle()


@pytest.mark.parametrize("listed", [True, False], ids=["draining", "gone from the table"])
async def test_a_replica_that_is_stopped_has_not_failed(tmp_path: Path, listed: bool) -> None:
    """Its time to drain was over, and requests were not."""
    holding = Holding()
    async with (
        Upstream(holding.script) as old,
        Upstream(answers) as new,
        gateway(tmp_path, old.replica("old")) as grid,
        grid.client() as client,
    ):
        await client.send(request("POST", CHAT, STREAM))
        await client.head()
        plain = asyncio.create_task(grid.chat())
        await until(lambda: holding.active == 2, "both at the replica")
        leaving = [old.replica("old", state=ReplicaState.DRAINING)] if listed else []
        await grid.serve(*leaving, new.replica("new"))
        await old.stop()
        answer, rest = await plain, await client.closed()
        assert (answer.status, answer.code, answer.header("retry-after")) == (503, "replica_stopped", "1")
        assert "Replica 'old' was taken out of service" in answer.json()["error"]["message"]
        assert b'"code":"replica_stopped"' in rest
        assert rest.endswith(b"\n\n\r\n0\r\n\r\n")
        await grid.idle()
        figures = await grid.metrics()
        assert figures['modelgrid_shed_total{model="m",reason="replica_stopped"}'] == 2
        assert [name for name in figures if "upstream_failures" in name] == []
