"""What many requests leave behind (row R23): nothing."""

import asyncio
from collections import Counter
from pathlib import Path

import psutil
from gateway_kit import STREAM_HEAD, Gateway, Peer, Seen, Upstream, answers, gateway, request

CHAT = "/v1/chat/completions"
REQUESTS = 10_000
CONNECTIONS = 20
EVENT = b"data: {}\n\n"


async def mixed(seen: Seen, peer: Peer) -> None:
    """A stream, an answer that never comes, or a plain one: as the request asks."""
    if b"stream" in seen.body:
        await peer.send(STREAM_HEAD + b"%x\r\n%b\r\n" % (len(EVENT), EVENT) * 3 + b"0\r\n\r\n")
    elif b"hang" in seen.body:
        await peer.gone()
    else:
        await answers(seen, peer)


async def load(grid: Gateway, number: int) -> Counter[str]:
    """Ask so many times over as many connections as always; one in fifty gives up, one in ten streams."""
    outcome: Counter[str] = Counter()

    async def client(share: int) -> None:
        asked = 0
        while asked < share:
            async with grid.client() as connection:
                while asked < share:
                    asked += 1
                    if asked % 50 == 0:
                        await connection.send(request("POST", CHAT, {"model": "m", "hang": True}))
                        outcome["given up"] += 1
                        break
                    body = {"model": "m", "stream": True} if asked % 10 == 0 else {"model": "m"}
                    answer = await connection.ask("POST", CHAT, body)
                    outcome[f"{answer.status}{'' if answer.complete else ' cut'}"] += 1

    await asyncio.gather(*(client(number // CONNECTIONS) for _ in range(CONNECTIONS)))
    return outcome


async def test_ten_thousand_requests_leave_no_file_and_no_task_behind(tmp_path: Path) -> None:
    async with Upstream(mixed) as upstream, gateway(tmp_path, upstream.replica()) as grid:

        async def left() -> tuple[float, float, float]:
            await grid.idle()
            await grid.wait_for_metric("modelgrid_client_connections", 1)  # the one that asks
            figures = await grid.metrics()
            pooled = figures[f'modelgrid_upstream_idle_connections{{replica="replica-{upstream.port}"}}']
            return psutil.Process(grid.pid).num_fds() - pooled, figures["modelgrid_gateway_tasks"], grid.rss()

        await load(grid, 1000)  # whatever is made once is made now
        files, tasks, memory = await left()
        outcome = await load(grid, REQUESTS)
        more_files, more_tasks, more_memory = (after - before for after, before in zip(
            await left(), (files, tasks, memory), strict=True
        ))  # fmt: skip
        print(f"R23: {dict(outcome)}: files {more_files:+.0f}, tasks {more_tasks:+.0f}, {more_memory / 1024:+.0f} KiB")
        assert set(outcome) == {"200", "given up"}
        assert sum(outcome.values()) == REQUESTS
        assert more_files <= 2
        assert more_tasks == 0
        assert more_memory <= 8 * 1024**2
