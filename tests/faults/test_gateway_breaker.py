"""Replicas that answer with errors are left aside for a while, and one is always kept."""

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from gateway_kit import COMPLETION, Gateway, Peer, Seen, Upstream, answers, gateway, json_answer, request, until

CHAT = "/v1/chat/completions"


async def fails(_: Seen, peer: Peer) -> None:
    await peer.send(json_answer({"error": {"message": "CUDA error"}}, "500 Internal Server Error"))


async def ejected(grid: Gateway, replica: str) -> bool:
    count = len(grid.reports)
    await until(lambda: len(grid.reports) > count, "a fresh report")
    return next(outcome.ejected for outcome in grid.reports[-1].outcomes if outcome.replica == replica)


async def test_five_errors_in_a_row_eject_for_n_times_the_time_and_a_probe_brings_it_back(tmp_path: Path) -> None:
    async with Upstream(fails) as bad, Upstream(answers) as good:  # noqa: SIM117 (the gateway ends first)
        async with gateway(tmp_path, bad.replica("bad"), good.replica("good"), eject_seconds=1.0) as grid:
            statuses = [(await grid.chat()).status for _ in range(40)]
            out = time.monotonic()
            assert (statuses.count(500), len(bad.seen)) == (5, 5)
            assert await ejected(grid, "bad")
            back = []
            for probes in (6, 7):  # after 1 s, then after 2 s more: one request each, which fails
                while len(bad.seen) < probes:
                    await grid.chat()
                    assert time.monotonic() < out + 20
                back.append(time.monotonic() - out)
                out = time.monotonic()
                assert all([(await grid.chat()).status == 200 for _ in range(10)])
            bad.script = answers
            while len(bad.seen) < 8:
                assert (await grid.chat()).status == 200
            back.append(time.monotonic() - out)
            before = len(bad.seen)
            for _ in range(10):
                assert (await grid.chat()).status == 200
            assert len(bad.seen) >= before + 5
            assert not await ejected(grid, "bad")
            print(
                f"R17: ejected after 5 errors in a row; probed after {', '.join(f'{s:.1f} s' for s in back)} (1 s × n)"
            )
            assert all(seconds >= at - 0.3 for seconds, at in zip(back, (1, 2, 3), strict=True))
            await grid.idle()


async def test_the_last_replica_is_kept_whatever_it_answers(tmp_path: Path) -> None:
    async with Upstream(fails) as one, Upstream(fails) as two:  # noqa: SIM117 (the gateway ends first)
        async with gateway(tmp_path, one.replica("one"), two.replica("two")) as grid:
            answers_got = [await grid.chat() for _ in range(30)]
            assert {answer.status for answer in answers_got} == {500}
            assert answers_got[-1].json() == {"error": {"message": "CUDA error"}}  # its own words, not the gateway's
            assert len(one.seen) + len(two.seen) == 30
            one.script = two.script = answers
            assert [(await grid.chat()).status for _ in range(10)] == [200] * 10
            assert not await ejected(grid, "one") or not await ejected(grid, "two")


async def test_errors_of_the_client_never_eject(tmp_path: Path) -> None:
    async def refuses(_: Seen, peer: Peer) -> None:
        await peer.send(json_answer({"error": {"message": "max_tokens is too large"}}, "400 Bad Request"))

    async with Upstream(refuses) as one, Upstream(answers) as two:  # noqa: SIM117 (the gateway ends first)
        async with gateway(tmp_path, one.replica("one"), two.replica("two")) as grid:
            statuses = [(await grid.chat()).status for _ in range(40)]
            assert (statuses.count(400), len(one.seen)) == (20, 20)
            assert not await ejected(grid, "one")


async def test_a_half_open_replica_gets_one_request_until_that_has_begun_to_answer(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def script(seen: Seen, peer: Peer) -> None:
        if len(bad.seen) <= 5:
            await fails(seen, peer)
        else:
            await held.wait()
            await peer.send(json_answer(COMPLETION))

    async with Upstream(script) as bad, Upstream(answers) as good:  # noqa: SIM117 (the gateway ends first)
        async with gateway(tmp_path, bad.replica("bad"), good.replica("good"), eject_seconds=0.5) as grid:
            while len(bad.seen) < 5:
                await grid.chat()
            async with grid.client() as probing:
                while len(bad.seen) < 6:
                    await probing.send(request("POST", CHAT, {"model": "m"}))
                    done = asyncio.create_task(probing.response())
                    await until(lambda done=done: done.done() or len(bad.seen) == 6, "answered, or held by the probed")
                    if len(bad.seen) < 6:
                        assert (await done).status == 200
                for _ in range(20):
                    assert (await grid.chat()).status == 200
                assert len(bad.seen) == 6
                held.set()
                assert (await done).status == 200
            for _ in range(10):
                assert (await grid.chat()).status == 200
            assert len(bad.seen) >= 10
            await grid.idle()
