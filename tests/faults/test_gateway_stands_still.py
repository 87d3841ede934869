"""A gateway that stood still (a machine that was suspended, or has too much to do) cuts nobody off for the time in
which it was the one that did not listen."""

import asyncio
import signal
from pathlib import Path

from gateway_kit import Peer, Seen, Upstream, answers, gateway, json_answer, request

LIMIT_SECONDS, STILL_SECONDS = 1.0, 2.0
CHAT = "/v1/chat/completions"


async def test_what_came_meanwhile_is_answered(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream:  # noqa: SIM117 (the gateway ends first)
        async with gateway(tmp_path, upstream.replica(), header_timeout_seconds=LIMIT_SECONDS) as grid:
            for number in range(3):
                halves = request("POST", CHAT, {"model": "m"})
                async with grid.client() as whole, grid.client() as late:
                    await late.send(halves[:20])
                    await asyncio.sleep(0.1 * number)
                    grid.process.send_signal(signal.SIGSTOP)
                    await whole.send(halves)
                    await late.send(halves[20:])
                    await asyncio.sleep(STILL_SECONDS)
                    grid.process.send_signal(signal.SIGCONT)
                    assert [(await whole.response()).status, (await late.response()).status] == [200, 200]


async def test_what_the_replica_said_meanwhile_is_passed_on(tmp_path: Path) -> None:
    asked, told = asyncio.Event(), asyncio.Event()

    async def script(_: Seen, peer: Peer) -> None:
        asked.set()
        await told.wait()
        await peer.send(json_answer({"id": "late"}))

    async with Upstream(script) as upstream:  # noqa: SIM117
        async with gateway(tmp_path, upstream.replica(), first_byte_timeout_seconds=LIMIT_SECONDS) as grid:
            answer = asyncio.create_task(grid.chat())
            await asked.wait()
            grid.process.send_signal(signal.SIGSTOP)
            told.set()
            await asyncio.sleep(STILL_SECONDS)
            grid.process.send_signal(signal.SIGCONT)
            assert (await answer).status == 200


async def test_whoever_is_late_otherwise_is_told_so(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream:  # noqa: SIM117
        async with gateway(tmp_path, upstream.replica(), header_timeout_seconds=LIMIT_SECONDS) as grid:
            async with grid.client() as late:
                await late.send(request("POST", CHAT, {"model": "m"})[:20])
                assert (await late.response()).status == 408
