"""Several gateway processes behave as one."""

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
from gateway_kit import (
    COMPLETION,
    STREAM_HEAD,
    Client,
    Peer,
    Response,
    Seen,
    Upstream,
    answers,
    grant,
    json_answer,
    request,
    secret,
    until,
)
from supervised_gateways import SupervisedGateways, gateways

from modelgrid.gateway.protocol import LAST_REQUEST_SECONDS

CHAT = "/v1/chat/completions"


async def opened(grid: SupervisedGateways, number: int) -> list[Client]:
    """Connections, spread over the gateways by the kernel."""
    return [Client(*await asyncio.open_connection("127.0.0.1", grid.port)) for _ in range(number)]


async def spread(grid: SupervisedGateways, number: int = 32) -> list[Client]:
    """Connections of which every gateway has some: the kernel hashes, so one more try may be needed."""
    while True:
        clients = await opened(grid, number)
        await until(lambda: sum(r.connections for r in grid.newest.values()) >= number, "connections are reported")
        if all(report.connections for report in grid.newest.values()):
            return clients
        await closed(clients)


async def closed(clients: list[Client]) -> None:
    await asyncio.gather(*(client.close() for client in clients))


async def test_limits_hold_over_all_processes_together(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateways(tmp_path, upstream.replica()) as grid:
        few = secret("few")
        grid.keys = (grant(), grant(few, id="few", requests_per_minute=40))
        await grid.serve(upstream.replica())
        clients = await spread(grid)
        asked = await asyncio.gather(*(ask_often(client, 5, few) for client in clients))
        statuses = Counter(answer.status for answers_ in asked for answer in answers_)
        print(statuses)
        assert statuses[200] + statuses[429] == 160
        assert 40 <= statuses[200] <= 43, "the bucket, and what flows in within some seconds"
        await closed(clients)


async def ask_often(client: Client, times: int, key: str) -> list[Response]:
    return [await client.ask("POST", CHAT, {"model": "m"}, key=key) for _ in range(times)]


async def test_concurrency_is_counted_over_all_processes_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    async def hangs(_: Seen, peer: Peer) -> None:
        await peer.send(STREAM_HEAD)
        await peer.gone()

    async with Upstream(hangs) as upstream, gateways(tmp_path, upstream.replica()) as grid:
        busy = secret("busy")
        grid.keys = (grant(), grant(busy, id="busy", concurrent_requests=32))
        await grid.serve(upstream.replica())
        clients = await spread(grid)
        for client in clients:
            await client.send(request("POST", CHAT, {"model": "m"}, key=busy))
        await until(lambda: upstream.open == 32, "all are at work")
        for _ in range(4):
            assert (await grid.chat(key=busy)).status == 429
        victim = next(pid for pid, report in grid.newest.items() if report.connections)
        os.kill(victim, signal.SIGKILL)
        await until(lambda: upstream.open < 32, "its requests have ended")
        upstream.script = answers
        end = time.monotonic() + 10
        while (await grid.chat(key=busy)).status != 200:
            assert time.monotonic() < end, "the dead process holds places"
        await until(lambda: len(grid.newest) == 2, "it was replaced")
        await closed(clients)


async def test_the_other_serves_on_when_one_is_killed(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateways(tmp_path, upstream.replica()) as grid:
        clients = await spread(grid)
        victim = min(grid.pids)
        os.kill(victim, signal.SIGKILL)
        outcome: Counter[str] = Counter()
        for client in clients:
            try:
                outcome[str((await client.ask("POST", CHAT, {"model": "m"})).status)] += 1
            except (ConnectionError, asyncio.IncompleteReadError):
                outcome["broken"] += 1
        print(outcome)
        assert outcome["200"] > 0
        assert outcome["200"] + outcome["broken"] == len(clients), "those of the dead process broke, no other"
        started = time.monotonic()
        for _ in range(50):
            assert (await grid.chat()).status == 200, "new connections are served, by the other or the replacement"
        print(f"50 new connections in {time.monotonic() - started:.2f} s")
        await closed(clients)


async def test_a_revoked_key_is_refused_by_all_within_a_second(tmp_path: Path) -> None:
    """Row S14."""
    async with Upstream(answers) as upstream, gateways(tmp_path, upstream.replica()) as grid:
        revoked = secret("revoked")
        grid.keys = (grant(), grant(revoked, id="revoked"))
        await grid.serve(upstream.replica())
        clients = await spread(grid)
        for client in clients:
            assert (await client.ask("POST", CHAT, {"model": "m"}, key=revoked)).status == 200
        grid.keys = (grant(),)
        assert grid.link is not None
        started = time.monotonic()
        grid.link.publish(grid.table())
        accepted = set(clients)
        while accepted:
            for client in tuple(accepted):
                if (await client.ask("POST", CHAT, {"model": "m"}, key=revoked)).status == 401:
                    accepted.discard(client)
        took = time.monotonic() - started
        print(f"S14: a revoked key is refused on all connections after {took * 1000:.0f} ms")
        assert took < 1.0
        await closed(clients)


async def test_a_line_moves_on_when_another_process_gives_a_place_up(tmp_path: Path) -> None:
    free = asyncio.Event()

    async def held(_: Seen, peer: Peer) -> None:
        await free.wait()
        await peer.send(json_answer(COMPLETION))

    async with Upstream(held) as upstream, gateways(tmp_path) as grid:
        await grid.serve(upstream.replica(places=8))
        clients = await spread(grid, 40)
        asked = [asyncio.create_task(client.ask("POST", CHAT, {"model": "m"})) for client in clients]
        await until(lambda: sum(r.queued.get("m", 0) for r in grid.newest.values()) >= 40 - 8 - 2, "the others wait")
        assert 8 <= upstream.open <= 10, "places are counted over all processes; a tie may let one more through"
        free.set()
        assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
        await closed(clients)


async def test_any_process_answers_for_all_and_counters_never_go_back(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateways(tmp_path, upstream.replica()) as grid:
        name = f'modelgrid_requests_total{{model="m",replica="replica-{upstream.port}",key="tests",status="2xx"}}'
        clients = await spread(grid)
        for client in clients:
            assert (await client.ask("POST", CHAT, {"model": "m"})).status == 200
        await grid.wait_for_metric(name, 32)
        await grid.stop_control()  # figures do not need it
        seen = [(await grid.metrics())[name] for _ in range(8)]
        assert seen == [32] * 8
        for pid in tuple(grid.pids):
            os.kill(pid, signal.SIGKILL)
            await until(lambda gone=pid: not psutil.pid_exists(gone), "it has ended")  # type: ignore[misc]
            assert (await grid.metrics())[name] == 32, "what a process counted outlives it"
        await grid.start_control()
        await grid.publish(*grid.models)
        await grid.roll()
        assert (await grid.metrics())[name] == 32
        assert (await grid.chat()).status == 200
        await grid.wait_for_metric(name, 33)
        await grid.idle()
        await closed(clients)


async def test_nothing_fails_while_all_gateways_are_replaced_three_times(tmp_path: Path) -> None:
    async def quick(seen: Seen, peer: Peer) -> None:
        if b"stream" in seen.body:
            event = b"data: {}\n\n"
            await peer.send(STREAM_HEAD)
            for _ in range(20):
                await peer.send(b"%x\r\n%b\r\n" % (len(event), event))
                await asyncio.sleep(0.01)
            await peer.send(b"0\r\n\r\n")
        else:
            await answers(seen, peer)

    async with Upstream(quick) as upstream, gateways(tmp_path, upstream.replica()) as grid:
        rolling = True
        outcome: Counter[str] = Counter()

        async def client(number: int) -> None:
            body = {"model": "m", "stream": True} if number % 4 == 0 else {"model": "m"}
            while rolling:
                async with grid.client() as connection:
                    for _ in range(50):
                        asked = time.monotonic()
                        answer = await connection.ask("POST", CHAT, body)
                        outcome[f"{answer.status}{'' if answer.complete else ' cut'}"] += 1
                        rested = time.monotonic() - asked  # at most: on a machine that does much else it may be long
                        if answer.header("connection") == "close" or rested > LAST_REQUEST_SECONDS / 2 or not rolling:
                            break

        clients = [asyncio.create_task(client(number)) for number in range(12)]
        for _ in range(3):
            before = outcome["200"]
            await grid.roll()
            await until(lambda start=before: outcome["200"] > start + 50, "serving goes on")  # type: ignore[misc]
        rolling = False
        await asyncio.gather(*clients)
        print(dict(outcome))
        assert set(outcome) == {"200"}
        await grid.idle()
