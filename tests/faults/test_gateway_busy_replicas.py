"""A replica that has no room says so with 429 or 503: another one is asked once, and what it says is passed on."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from gateway_kit import Peer, Script, Seen, Upstream, answers, gateway, json_answer

CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


def busy(status: str) -> Script:
    async def script(_: Seen, peer: Peer) -> None:
        await peer.send(json_answer({"error": {"message": "no room"}}, status, "retry-after: 7\r\n"))

    return script


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_another_replica_is_asked_once(tmp_path: Path, status: str) -> None:
    async with Upstream(busy(status)) as full, Upstream(answers) as free:  # noqa: SIM117 (the gateway ends first)
        async with gateway(tmp_path, full.replica("full"), free.replica("free")) as grid:
            assert [(await grid.chat()).status for _ in range(6)] == [200] * 6
            assert len(free.seen) == 6
            assert 1 <= len(full.seen) <= 6
            assert (await grid.metrics())['modelgrid_failovers_total{replica="full"}'] == len(full.seen)
            await grid.idle()


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_when_all_are_busy_the_last_answer_and_its_retry_after_are_passed_on(tmp_path: Path, status: str) -> None:
    async with Upstream(busy(status)) as one, Upstream(busy(status)) as two, Upstream(busy(status)) as three:
        replicas = [upstream.replica(name) for upstream, name in ((one, "one"), (two, "two"), (three, "three"))]
        async with gateway(tmp_path, *replicas) as grid:
            answer = await grid.chat()
            assert (answer.status, answer.header("retry-after")) == (int(status[:3]), "7")
            assert answer.json() == {"error": {"message": "no room"}}
            assert len(one.seen) + len(two.seen) + len(three.seen) == 2  # one try elsewhere, no more
            await grid.idle()


async def test_a_single_replica_is_not_asked_twice(tmp_path: Path) -> None:
    async with Upstream(busy("503 Service Unavailable")) as one, gateway(tmp_path, one.replica()) as grid:
        answer = await grid.chat()
        assert (answer.status, answer.header("retry-after"), len(one.seen)) == (503, "7", 1)
        await grid.idle()


async def test_a_refusal_in_chunks_leads_elsewhere_too_and_other_errors_do_not(tmp_path: Path) -> None:
    async def in_chunks(_: Seen, peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 503 Service Unavailable\r\n" + CHUNKED + b"2\r\n{}\r\n")
        await peer.send(b"0\r\n\r\n")

    async def overloaded(_: Seen, peer: Peer) -> None:
        await peer.send(json_answer({"error": {}}, "500 Internal Server Error"))

    async with Upstream(in_chunks) as full, Upstream(answers) as free:  # noqa: SIM117 (the gateway ends first)
        async with gateway(tmp_path, full.replica("full"), free.replica("free")) as grid:
            assert [(await grid.chat()).status for _ in range(4)] == [200] * 4
            asked = len(full.seen)
            assert asked >= 1
            full.script = overloaded
            statuses = [(await grid.chat()).status for _ in range(6)]
            assert statuses.count(500) == len(full.seen) - asked >= 2
            await grid.idle()
