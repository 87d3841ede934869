"""What a client of one node sees when another node fails: its engine, its gateway, its certificate, its membership."""

import asyncio
import hashlib
import json
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from gateway_kit import (
    COMPLETION,
    PATIENCE,
    STREAM_HEAD,
    Peer,
    Seen,
    Upstream,
    answers,
    json_answer,
    model,
    request,
    until,
)
from peer_kit import cluster, publish

from modelgrid.domain.routing import Replica

CHAT = "/v1/chat/completions"
STREAM = {"model": "m", "stream": True}


def refusing(name: str, node: str) -> Replica:
    """An engine on a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return Replica(id=name, host="127.0.0.1", port=server.getsockname()[1], node=node)


class Holding:
    """An engine that begins and does not end until it is told to, and notes who hung up."""

    def __init__(self) -> None:
        self.finish = asyncio.Event()
        self.aborted = 0
        self.under_way = 0

    async def script(self, seen: Seen, peer: Peer) -> None:
        self.under_way += 1
        try:
            await self._hold(seen, peer)
        finally:
            self.under_way -= 1

    async def _hold(self, seen: Seen, peer: Peer) -> None:
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
        if b"stream" in seen.body:
            await peer.event("[DONE]")
            await peer.send(b"0\r\n\r\n")
        else:
            await peer.send(json_answer(COMPLETION))


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("stream", [True, False], ids=["after the first byte", "before the first byte"])
async def test_a_client_that_leaves_stops_the_engine_of_another_node(tmp_path: Path, how: str, stream: bool) -> None:
    holding = Holding()
    async with Upstream(holding.script) as upstream, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r")]))
        async with a.client() as client:
            await client.send(request("POST", CHAT, STREAM if stream else {"model": "m"}))
            if stream:
                await client.head()
            await until(lambda: len(upstream.seen) == 1, "request at the engine")
            left = time.perf_counter()
            client.reset() if how == "reset" else await client.close()
        await until(lambda: holding.aborted == 1, "engine stopped")
        took = time.perf_counter() - left
        print(f"client gone ({how}): the engine behind the hop heard of it after {took * 1000:.1f} ms")
        assert took < 1.0
        for node in (a, b):
            await node.idle()
        figures = await a.metrics()
        cancelled = [value for name, value in figures.items() if "requests_total" in name and "cancelled" in name]
        assert cancelled == [1]


async def test_200_cancels_leave_nothing_behind_on_either_node(tmp_path: Path) -> None:
    holding = Holding()
    async with Upstream(holding.script) as upstream, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r")]))

        async def leaves(number: int) -> None:
            async with a.client() as client:
                await client.send(request("POST", CHAT, STREAM if number % 2 else {"model": "m"}))
                if number % 3:
                    await asyncio.sleep(0.002 * (number % 50))

        await asyncio.gather(*(leaves(number) for number in range(200)))
        for node in (a, b):
            await node.idle()
        await b.wait_for_metric("modelgrid_peer_requests_in_flight", 0)
        await until(lambda: holding.under_way == 0, "the engine works for nobody any more")


async def test_whoever_has_another_certificate_gets_nothing(tmp_path: Path) -> None:
    """Somebody answers in the place of b: with TLS, but not with b's certificate."""
    async with Upstream(answers) as here, Upstream(answers) as there, cluster(tmp_path, "a", "b", "evil") as nodes:
        a, b, evil = nodes
        await evil.publish(model("m", [replace(evil.here(there, "r"), node="evil")]))
        in_its_place = replace(b.peer, port=evil.peer_port)
        await a.knows(a.peer, in_its_place)
        await a.publish(model("m", [b.here(there, "r")]))
        answer = await a.chat()
        assert (answer.status, answer.code) == (503, "model_unreachable")
        log = a.log.read_text()
        assert "whoever answers there does not have the certificate of that node" in log
        assert a.credential not in log
        assert len(there.seen) == 0
        assert [name for name in await evil.metrics() if name.startswith("modelgrid_peer_requests_total")] == []
        # where another engine is left, the client does not notice
        await a.publish(model("m", [b.here(there, "r"), a.here(here, "here")]))
        assert [(await a.chat()).status for _ in range(10)] == [200] * 10
        assert len(there.seen) == 0


async def test_who_answers_without_tls_gets_nothing(tmp_path: Path) -> None:
    heard = b""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        with suppress(ConnectionError):
            heard += await reader.read(65536)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            heard += await reader.read(65536)
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server, Upstream(answers) as there, cluster(tmp_path, "a", "b") as (a, b):
        await a.knows(a.peer, replace(b.peer, port=server.sockets[0].getsockname()[1]))
        await a.publish(model("m", [b.here(there, "r")]))
        assert (await a.chat()).status == 503
        assert b"Bearer" not in heard
        assert "no TLS with whoever answers there" in a.log.read_text()


async def test_a_handshake_that_does_not_end_is_left_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with Upstream(answers) as here, cluster(tmp_path, "a", "b", connect_timeout_seconds=0.3) as (a, b):
            await a.knows(a.peer, replace(b.peer, port=silent.getsockname()[1]))
            stuck = Replica(id="stuck", host="", port=0, node="b")
            await a.publish(model("m", [stuck]))
            assert (await a.chat()).code == "model_unreachable"
            assert "did not accept a connection in time" in a.log.read_text()
            await a.publish(model("m", [stuck, a.here(here, "here")]))
            assert (await a.chat()).status == 200
            await a.idle()


async def test_a_credential_that_is_not_known_there_never_shows_to_the_client(tmp_path: Path) -> None:
    async with Upstream(answers) as here, Upstream(answers) as there, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(there, "r")]))
        a.credential = "mgn-" + hashlib.sha256(b"not told to b").hexdigest()
        await a.knows(*a.peers)
        answer = await a.chat()
        assert (answer.status, answer.code) == (503, "model_unreachable")  # and not 401: the client's key is good
        assert "does not know this node's credential" in a.log.read_text()
        await a.publish(model("m", [b.here(there, "r"), a.here(here, "here")]))
        assert [(await a.chat()).status for _ in range(5)] == [200] * 5
        assert len(there.seen) == 0


async def test_a_node_that_was_removed_is_refused_at_once(tmp_path: Path) -> None:
    async with Upstream(answers) as there, cluster(tmp_path, "a", "b", queue_seconds=0.5) as (a, b):
        await publish((a, b), model("m", [b.here(there, "r")]))
        assert (await a.chat()).status == 200  # a connection is there now
        await b.knows(b.peer)
        assert (await a.chat()).code == "model_unreachable"
        assert len(there.seen) == 1
        # and the other way round: a peer that is gone from the table is not asked, whatever the replicas say
        await b.knows(a.peer, b.peer)
        await a.knows(a.peer)
        answer = await a.chat()
        assert answer.status == 503
        assert len(there.seen) == 1
        await a.knows(a.peer, b.peer)
        assert (await a.chat()).status == 200


async def test_one_hop_at_most(tmp_path: Path) -> None:
    """a believes that the engine is at b, b that it is at c: nobody goes round in circles."""
    async with Upstream(answers) as there, cluster(tmp_path, "a", "b", "c") as nodes:
        a, b, c = nodes
        await a.publish(model("m", [b.here(there, "r")]))
        await b.publish(model("m", [c.here(there, "r")]))
        await c.publish(model("m", [a.here(there, "r")]))
        answer = await a.chat()
        assert (answer.status, answer.code) == (503, "model_unreachable")
        assert len(there.seen) == 0
        await a.publish(model("m", [b.here(there, "r"), replace(c.here(there, "r2"))]))
        await c.publish(model("m", [c.here(there, "r2")]))
        assert [(await a.chat()).status for _ in range(4)] == [200] * 4


async def test_an_engine_that_is_gone_there_is_replaced_there_or_elsewhere(tmp_path: Path) -> None:
    async with Upstream(answers) as second, Upstream(answers) as third, cluster(tmp_path, "a", "b", "c") as nodes:
        a, b, c = nodes
        gone = refusing("gone", "b")
        await publish(nodes, model("m", [gone]))
        answer = await a.chat()
        assert (answer.status, answer.code) == (503, "model_unreachable")
        # another engine of that node: found there
        await a.publish(model("m", [gone]))
        await b.publish(model("m", [gone, b.here(second, "second")]))
        assert (await a.chat()).status == 200
        assert len(second.seen) == 1
        # none there: another node
        await publish(nodes, model("m", [gone, c.here(third, "third")]))
        assert [(await a.chat()).status for _ in range(6)] == [200] * 6
        assert len(third.seen) == 6
        # one that the table there does not name any more
        await a.publish(model("m", [b.here(second, "second"), c.here(third, "third")]))
        await b.publish()
        assert [(await a.chat()).status for _ in range(6)] == [200] * 6
        assert len(second.seen) == 1


async def test_an_accepted_request_is_never_sent_again_over_the_hop(tmp_path: Path) -> None:
    async def dies(_: Seen, peer: Peer) -> None:
        peer.reset()

    async with Upstream(dies) as one, Upstream(dies) as two, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(one, "one"), b.here(two, "two")]))
        for number in range(1, 4):
            answer = await a.chat()
            assert (answer.status, answer.code) == (502, "replica_failed")
            assert len(one.seen) + len(two.seen) == number
        for node in (a, b):
            await node.idle()


async def test_what_an_engine_refuses_is_passed_on_and_a_503_asked_elsewhere_once(tmp_path: Path) -> None:
    def says(status: str, code: str) -> Upstream:
        async def script(_: Seen, peer: Peer) -> None:
            await peer.send(json_answer({"error": {"code": code}}, status, "retry-after: 7\r\n"))

        return Upstream(script)

    async with (
        says("400 Bad Request", "bad") as bad,
        says("503 Service Unavailable", "busy") as busy,
        Upstream(answers) as well,
        cluster(tmp_path, "a", "b") as (a, b),
    ):
        await publish((a, b), model("m", [b.here(bad, "bad")]))
        for _ in range(8):
            answer = await a.chat()
            assert (answer.status, answer.code) == (400, "bad")
        await publish((a, b), model("m", [b.here(busy, "busy")]))
        for _ in range(8):
            answer = await a.chat()
            assert (answer.status, answer.code, answer.header("retry-after")) == (503, "busy", "7")
        await publish((a, b), model("m", [b.here(busy, "busy"), a.here(well, "well")]))
        assert [(await a.chat()).status for _ in range(4)] == [200] * 4
        figures = await a.metrics()
        assert [name for name in figures if name.startswith("modelgrid_upstream_failures")] == []


@pytest.mark.parametrize("who", ["engine", "gateway"])
async def test_a_stream_that_breaks_on_the_other_node_ends_with_an_error(tmp_path: Path, who: str) -> None:
    breaks = asyncio.Event()

    async def breaking(_: Seen, peer: Peer) -> None:
        await peer.send(STREAM_HEAD)
        await peer.event("first")
        await breaks.wait()
        peer.reset()

    async with Upstream(breaking) as upstream, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r")]))
        async with a.client() as client:
            await client.send(request("POST", CHAT, STREAM, headers=[("X-Request-Id", "mine")]))
            await client.head()
            await client.reader.readuntil(b"first")
            if who == "gateway":
                await b.kill()
            else:
                breaks.set()
            rest = await client.closed()
        breaks.set()
        assert b"[DONE]" not in rest
        events = [json.loads(line[6:]) for line in rest.splitlines() if line.startswith(b"data: {")]
        assert len(events) == 1, rest  # said once, by the gateway that talks to the client
        assert events[0]["error"]["code"] == "replica_failed"
        assert events[0]["error"]["request_id"] == "mine"
        figures = await a.metrics()
        assert figures['modelgrid_upstream_failures_total{replica="r",kind="mid_stream"}'] == 1
        assert figures['modelgrid_requests_total{model="m",replica="r",key="tests",status="5xx"}'] == 1
        await a.idle()


async def test_a_gateway_that_was_killed_and_came_back_is_used_again(tmp_path: Path) -> None:
    async with Upstream(answers) as here, Upstream(answers) as there, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(there, "there")]))
        assert (await a.chat()).status == 200
        await b.kill()
        answer = await a.ask("POST", CHAT, {"model": "m"})
        assert answer.status in {502, 503}
        await a.publish(model("m", [b.here(there, "there"), a.here(here, "here")]))
        await a.change(connect_timeout_seconds=0.3)  # its socket lives with the supervisor: connections wait in it
        assert [(await a.chat()).status for _ in range(10)] == [200] * 10
        await a.publish(model("m", [b.here(there, "there")]))
        await b.start()
        await b.wait_ready()
        started = time.perf_counter()
        while (await a.chat()).status != 200:
            assert time.perf_counter() - started < PATIENCE
        print(f"used again {time.perf_counter() - started:.2f} s after it was back")
        for node in (a, b):
            await node.idle()


async def test_no_request_is_lost_when_the_gateway_of_another_node_is_replaced(tmp_path: Path) -> None:
    """As a reload does it: the successor accepts on the same socket while the old process drains."""
    async with Upstream(answers) as there, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(there, "r")]))
        stop = asyncio.Event()
        statuses: list[int] = []

        async def asks(pause: float) -> None:
            async with a.client() as client:
                while not stop.is_set():
                    statuses.append((await client.ask("POST", CHAT, {"model": "m"})).status)
                    await asyncio.sleep(pause)

        asking = [asyncio.create_task(asks(0.001 * (1 + number * 7))) for number in range(8)]
        for _ in range(3):
            old = b.process
            assert old is not None
            await b.start()
            await until(
                lambda old=old: b.reports[-1].pid != old.pid and b.reports[-1].generation > 0, "successor serves"
            )
            old.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(old.wait(), PATIENCE) == 0
            seen = len(statuses)
            await until(lambda seen=seen: len(statuses) > seen + 50, "requests are answered")
        stop.set()
        await asyncio.gather(*asking)
        print(f"{len(statuses)} requests over three replacements, all answered")
        assert set(statuses) == {200}
        assert len(there.seen) == len(statuses), "and none was sent twice"


async def test_a_stream_through_a_draining_gateway_is_finished(tmp_path: Path) -> None:
    holding = Holding()
    async with Upstream(holding.script) as upstream, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r")]))
        async with a.client() as client:
            await client.send(request("POST", CHAT, STREAM))
            await client.head()
            assert b.process is not None
            b.process.send_signal(signal.SIGTERM)
            await until(lambda: "draining" in b.log.read_text(), "b drains")
            holding.finish.set()
            answer = await asyncio.wait_for(client.reader.readuntil(b"0\r\n\r\n"), PATIENCE)
        assert b"[DONE]" in answer
        assert await asyncio.wait_for(b.process.wait(), PATIENCE) == 0


async def test_what_a_drain_cuts_off_is_not_sent_again(tmp_path: Path) -> None:
    holding, other = Holding(), Holding()
    async with (
        Upstream(holding.script) as one,
        Upstream(other.script) as two,
        cluster(tmp_path, "a", "b", "c") as nodes,
    ):
        a, b, c = nodes
        await publish(nodes, model("m", [b.here(one, "one")]))
        asked = asyncio.create_task(a.chat())
        await until(lambda: len(one.seen) == 1, "request at the engine")
        await publish(nodes, model("m", [b.here(one, "one"), c.here(two, "two")]))
        await b.change(drain_seconds=0.2)
        assert b.process is not None
        b.process.send_signal(signal.SIGTERM)
        answer = await asked
        assert (answer.status, answer.code) == (502, "gateway_restarting")
        assert len(two.seen) == 0
        await asyncio.wait_for(b.process.wait(), PATIENCE)


async def test_a_close_that_crosses_a_request_on_the_hop_is_no_error(tmp_path: Path) -> None:
    """The kernel knows that the other gateway never got the request: the FIN is there before this one has looked."""
    async with Upstream(answers) as there, cluster(tmp_path, "a", "b") as (a, b):
        await b.change(keep_alive_seconds=0.2)
        await publish((a, b), model("m", [b.here(there, "r")]))
        assert a.process is not None
        resent = 0.0
        async with a.client() as client:
            for asked in range(1, 21):
                assert (await client.ask("POST", CHAT, {"model": "m"})).status == 200
                a.process.send_signal(signal.SIGSTOP)
                await client.send(request("POST", CHAT, {"model": "m"}))
                await b.wait_for_metric("modelgrid_peer_connections", 0)
                a.process.send_signal(signal.SIGCONT)
                assert (await client.response()).status == 200
                assert len(there.seen) == 2 * asked
                resent = (await a.metrics()).get('modelgrid_resends_total{replica="r"}', 0)
                if resent:
                    break
        print(f"crossed on the wire after {asked} tries, and was sent again")
        assert resent
