"""Prompts go where they were read before, sessions where they were, and load is spread all the same."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from gateway_kit import COMPLETION, STREAM_HEAD, Gateway, Peer, Seen, Upstream, answers, gateway, json_answer, until

CHAT = "/v1/chat/completions"


def chat(*texts: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text} for text in texts]} | fields


async def who(grid: Gateway, upstreams: list[Upstream], body: Any, **options: Any) -> int:
    """Ask, and return which of `upstreams` was asked."""
    before = [len(upstream.seen) for upstream in upstreams]
    assert (await grid.ask("POST", CHAT, body, **options)).status == 200
    (index,) = [index for index, upstream in enumerate(upstreams) if len(upstream.seen) > before[index]]
    return index


async def test_the_turns_of_a_conversation_go_to_one_replica(tmp_path: Path) -> None:
    async with Upstream(answers) as a, Upstream(answers) as b:  # noqa: SIM117 (the gateway ends first)
        async with gateway(tmp_path, a.replica("a"), b.replica("b")) as grid:
            homes = []
            for talk in range(8):
                turns = [f"conversation {talk} " + "x" * 2000]
                home = await who(grid, [a, b], chat(*turns))
                for turn in range(4):
                    turns.append(f"turn {turn} " + "y" * 300)
                    assert await who(grid, [a, b], chat(*turns, temperature=turn)) == home
                homes.append(home)
            assert set(homes) == {0, 1}
            await grid.idle()


async def test_a_session_goes_to_one_replica_whatever_it_says(tmp_path: Path) -> None:
    async with Upstream(answers) as a, Upstream(answers) as b:  # noqa: SIM117 (the gateway ends first)
        async with gateway(tmp_path, a.replica("a"), b.replica("b")) as grid:
            homes = {}
            for session in "abcdefgh":
                asked = [
                    await who(grid, [a, b], chat(str(turn) * 1000), headers=[("X-Session-Id", session)])
                    for turn in range(3)
                ]
                assert len(set(asked)) == 1
                homes[session] = asked[0]
            assert set(homes.values()) == {0, 1}
            assert a.seen[0].header("x-session-id") is not None  # it goes on to the engine
            stays = next(session for session, home in homes.items() if home == 1)
            moves = next(session for session, home in homes.items() if home == 0)
            await grid.serve(b.replica("b"))
            for session in (stays, moves):
                assert await who(grid, [b], chat("x"), headers=[("X-Session-Id", session)]) == 0
            await grid.serve(a.replica("a"), b.replica("b"))
            assert await who(grid, [a, b], chat("x"), headers=[("X-Session-Id", moves)]) == 0


async def test_one_long_prompt_that_all_share_spreads_when_its_replica_is_busy(tmp_path: Path) -> None:
    """While 120 requests with one beginning wait, the second replica takes its part and learns it."""
    free = asyncio.Event()

    async def holds(_: Seen, peer: Peer) -> None:
        await free.wait()
        await peer.send(json_answer(COMPLETION))

    async with Upstream(holds) as a, Upstream(holds) as b:  # noqa: SIM117 (the gateway ends first)
        async with gateway(tmp_path, a.replica("a"), b.replica("b")) as grid:
            body = chat("shared " * 800)
            tasks = [asyncio.create_task(grid.ask("POST", CHAT, body)) for _ in range(120)]
            await grid.wait_for_metric("modelgrid_requests_in_flight", 120)
            free.set()
            assert {answer.status for answer in await asyncio.gather(*tasks)} == {200}
            shares = sorted((len(a.seen), len(b.seen)))
            print(f"120 at once with one beginning: {shares[1]} and {shares[0]}")
            assert shares[0] >= 15
            await grid.idle()


async def test_a_stream_counts_as_reading_until_its_first_byte_only(tmp_path: Path) -> None:
    """While a long prompt is read the others go elsewhere; once it streams, both take turns by their requests."""
    first, rest = asyncio.Event(), asyncio.Event()

    async def streams(seen: Seen, peer: Peer) -> None:
        if b'"stream"' not in seen.body:
            await answers(seen, peer)
            return
        await first.wait()
        await peer.send(STREAM_HEAD)
        await peer.event("1")
        await rest.wait()
        await peer.event("[DONE]")
        await peer.send(b"0\r\n\r\n")

    async with Upstream(streams) as a, Upstream(streams) as b:  # noqa: SIM117 (the gateway ends first)
        async with gateway(tmp_path, a.replica("a"), b.replica("b")) as grid, grid.client() as client:
            streaming = asyncio.create_task(client.ask("POST", CHAT, chat("long " * 2000, stream=True)))
            await until(lambda: len(a.seen) + len(b.seen) == 1, "a replica has the long prompt")
            reading = a if a.seen else b
            held: Counter[bool] = Counter()
            for _ in range(10):
                held[await who(grid, [a, b], chat("x" * 300)) == [a, b].index(reading)] += 1
            assert held == {False: 10}
            first.set()
            rest.set()
            assert (await streaming).complete
            for number in range(10):
                held[await who(grid, [a, b], chat(f"{number}" * 3000)) == [a, b].index(reading)] += 1
            assert held[True] >= 3
            await grid.idle()
