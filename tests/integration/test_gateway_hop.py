"""Requests that enter on one node and are answered by an engine of another, over real TLS between real gateways."""

import asyncio
import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
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

from modelgrid.domain.routing import RoutingTable

CHAT = "/v1/chat/completions"
STREAM = {"model": "m", "stream": True}
MEGABYTE = 1024 * 1024


def peer_requests(peer: str, replica: str, status: str) -> str:
    return f'modelgrid_peer_requests_total{{peer="{peer}",model="m",replica="{replica}",status="{status}"}}'


async def test_any_node_serves_what_another_runs(tmp_path: Path) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "ünïcode"}], "unknown": [1, 2.50]}
    async with Upstream(answers) as upstream, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r")]))
        async with a.client() as client:
            for number in range(20):
                raw = json.dumps(body | {"n": number}).encode()
                answer = await client.ask("POST", CHAT, raw, headers=[("X-Request-Id", f"mine-{number}")])
                assert (answer.status, answer.json()) == (200, COMPLETION)
                assert answer.header("x-request-id") == f"mine-{number}"
                assert not [name for name, _ in answer.headers if name.lower().startswith("x-modelgrid")]
                assert upstream.seen[-1].body == raw
        assert (await b.chat()).status == 200
        names = {name.lower() for seen in upstream.seen for name, _ in seen.headers}
        assert names == {"host", "content-type", "x-request-id", "content-length"}  # no key, no credential, no routing
        assert upstream.connections == 1
        at_a, at_b = await a.metrics(), await b.metrics()
        own = '{model="m",replica="r",key="tests",status="2xx"}'
        assert at_a["modelgrid_requests_total" + own] == 20
        assert at_b["modelgrid_requests_total" + own] == 1  # what came from a is counted there, and here apart
        assert at_a["modelgrid_output_tokens_total" + own] == 60
        assert at_b["modelgrid_output_tokens_total" + own] == 3
        assert at_b[peer_requests("a", "r", "2xx")] == 20
        assert at_b["modelgrid_peer_connections"] == 1, "one connection between the gateways carried all of them"
        assert at_b["modelgrid_client_connections"] == 1
        for node in (a, b):
            await node.idle()


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings", "/tokenize", "/v1/tokenize", "/v1/new/thing"])
async def test_paths_are_at_the_engine_as_without_the_hop(tmp_path: Path, path: str) -> None:
    async with Upstream(answers) as upstream, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r")]))
        assert (await a.ask("POST", f"{path}?x=1", {"model": "m"})).status == 200
        assert (await b.ask("POST", f"{path}?x=1", {"model": "m"})).status == 200
        assert upstream.seen[0].target == upstream.seen[1].target


async def test_events_pass_as_they_come_and_usage_is_counted_once(tmp_path: Path) -> None:
    more = asyncio.Event()

    async def one_by_one(seen: Seen, peer: Peer) -> None:
        assert json.loads(seen.body)["stream_options"] == {"include_usage": True}
        await peer.send(STREAM_HEAD)
        await peer.event("first")
        await more.wait()
        await peer.event('{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":9,"total_tokens":14}}')
        await peer.event("[DONE]")
        await peer.send(b"0\r\n\r\n")

    async with Upstream(one_by_one) as upstream, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r")]))
        async with a.client() as client:
            await client.send(request("POST", CHAT, STREAM))
            assert (await client.head()).status == 200
            first = b"d\r\ndata: first\n\n\r\n"
            assert await asyncio.wait_for(client.reader.readexactly(len(first)), PATIENCE) == first
            figures = await b.metrics()
            assert figures["modelgrid_peer_requests_in_flight"] == 1
            assert figures["modelgrid_requests_in_flight"] == 0
            assert figures['modelgrid_replica_in_flight{replica="r"}'] == 1  # what a drain at b waits for
            await until(lambda: b.reports[-1].outcomes[0].in_flight == 1, "control at b knows")
            assert b.reports[-1].outcomes[0].of_peers == 1
            assert a.reports[-1].outcomes[0].of_peers == 0
            more.set()
            rest = await asyncio.wait_for(client.reader.readuntil(b"0\r\n\r\n"), PATIENCE)
        assert b"[DONE]" in rest
        assert b"usage" not in rest  # nobody asked for it
        own = '{model="m",replica="r",key="tests",status="2xx"}'
        assert (await a.metrics())["modelgrid_output_tokens_total" + own] == 9
        assert "modelgrid_output_tokens_total" + own not in await b.metrics()
        for node in (a, b):
            await node.idle()


async def test_a_large_body_and_a_large_answer(tmp_path: Path) -> None:
    large = b"x" * (5 * MEGABYTE)

    async def echoes(seen: Seen, peer: Peer) -> None:
        await peer.send(json_answer({"length": len(seen.body), "text": large.decode()}))

    async with Upstream(echoes) as upstream, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r")]))
        raw = b'{"model":"m","text":"' + large + b'"}'
        for _ in range(3):
            answer = await a.ask("POST", CHAT, raw)
            assert answer.complete
            assert answer.json() == {"length": len(raw), "text": large.decode()}
        assert upstream.seen[-1].body == raw


async def test_a_slow_reader_pauses_the_engine_of_another_node(tmp_path: Path) -> None:
    sent = 0

    async def endless(_: Seen, peer: Peer) -> None:
        nonlocal sent
        await peer.send(STREAM_HEAD)
        for _ in range(50):
            await peer.event("x" * MEGABYTE)
            sent += 1
        await peer.event("[DONE]")
        await peer.send(b"0\r\n\r\n")

    async with Upstream(endless) as upstream, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r")]))
        before = a.rss(), b.rss()
        async with a.client() as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(request("POST", CHAT, STREAM))
            stopped = -1
            while sent != stopped:
                stopped = sent
                await asyncio.sleep(0.5)
            grown = [(now - then) / MEGABYTE for now, then in zip((a.rss(), b.rss()), before, strict=True)]
            print(f"stopped after {sent} of 50 MB; the gateways grew by {grown[0]:.1f} and {grown[1]:.1f} MB")
            assert 0 < sent < 40
            assert max(grown) < 25
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            answer = await client.response()
            assert answer.complete
            assert len(answer.body) > 50 * MEGABYTE


async def test_of_equals_the_engine_here_is_taken_and_load_is_shared(tmp_path: Path) -> None:
    hold = asyncio.Event()

    async def holds(seen: Seen, peer: Peer) -> None:
        if b"hold" in seen.body:
            await hold.wait()
        await peer.send(json_answer(COMPLETION))

    async with Upstream(holds) as here, Upstream(holds) as there, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [a.here(here, "here"), b.here(there, "there")]))
        for _ in range(10):
            assert (await a.chat()).status == 200
        assert (len(here.seen), len(there.seen)) == (10, 0)
        held = [asyncio.create_task(a.ask("POST", CHAT, {"model": "m", "x": "hold"})) for _ in range(6)]
        await until(lambda: len(here.seen) + len(there.seen) == 16, "six more are at an engine")
        assert len(there.seen) == 3
        hold.set()
        assert {answer.status for answer in await asyncio.gather(*held)} == {200}


async def test_a_session_stays_on_its_engine_whichever_node_it_enters(tmp_path: Path) -> None:
    async with Upstream(answers) as one, Upstream(answers) as two, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [a.here(one, "one"), b.here(two, "two")]))
        for session in ("s1", "s2", "s3", "s4"):
            before = len(one.seen), len(two.seen)
            for node in (a, b, a, b):
                assert (await node.chat(headers=[("X-Session-Id", session)])).status == 200
            went = len(one.seen) - before[0], len(two.seen) - before[1]
            assert sorted(went) == [0, 4], f"session {session} was split: {went}"
        assert len(one.seen) > 0
        assert len(two.seen) > 0


async def test_a_conversation_stays_on_the_engine_that_has_read_it(tmp_path: Path) -> None:
    async with Upstream(answers) as one, Upstream(answers) as two, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [a.here(one, "one", state="draining"), b.here(two, "two")]))
        talk = [{"role": "user", "content": "word " * 2000}]
        assert (await a.ask("POST", CHAT, {"model": "m", "messages": talk})).status == 200
        await publish((a, b), model("m", [a.here(one, "one"), b.here(two, "two")]))
        for _ in range(5):
            talk += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "more " * 100}]
            assert (await a.ask("POST", CHAT, {"model": "m", "messages": talk})).status == 200
        assert (len(one.seen), len(two.seen)) == (0, 6)


async def test_with_nowhere_else_to_go_it_waits_in_line_where_the_engine_is(tmp_path: Path) -> None:
    hold = asyncio.Event()

    async def holds(seen: Seen, peer: Peer) -> None:
        if b"hold" in seen.body:
            await hold.wait()
        await peer.send(json_answer(COMPLETION))

    async with Upstream(holds) as upstream, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r", places=1)]))
        held = asyncio.create_task(b.ask("POST", CHAT, {"model": "m", "x": "hold"}))
        await until(lambda: len(upstream.seen) == 1, "b's own client has the only place")
        waits = asyncio.create_task(a.chat())  # a does not know that the place is taken
        await b.wait_for_metric('modelgrid_queue_length{model="m"}', 1)
        hold.set()
        assert (await waits).status == (await held).status == 200
        for node in (a, b):
            await node.idle()


async def test_a_busy_engine_elsewhere_is_left_for_one_with_a_place(tmp_path: Path) -> None:
    hold = asyncio.Event()

    async def holds(seen: Seen, peer: Peer) -> None:
        if b"hold" in seen.body:
            await hold.wait()
        await peer.send(json_answer(COMPLETION))

    async with (
        Upstream(holds) as full,
        Upstream(answers) as free,
        cluster(tmp_path, "a", "b", "c") as nodes,
    ):
        a, b, c = nodes
        await publish(nodes, model("m", [b.here(full, "full", places=1)]))
        held = asyncio.create_task(b.ask("POST", CHAT, {"model": "m", "x": "hold"}))
        await until(lambda: len(full.seen) == 1, "b's own client has the only place")
        await publish(nodes, model("m", [b.here(full, "full", places=1), c.here(free, "free", places=4)]))
        for _ in range(8):
            assert (await a.chat()).status == 200
        assert (len(full.seen), len(free.seen)) == (1, 8)
        figures = await a.metrics()
        assert figures['modelgrid_failovers_total{replica="full"}'] >= 1  # it was asked, and had no place
        assert not [name for name in figures if name.startswith("modelgrid_upstream_failures")]
        assert "goes elsewhere" not in a.log.read_text()  # to be full is no failure
        hold.set()
        assert (await held).status == 200


async def test_a_new_credential_holds_at_once_and_the_old_no_longer(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r")]))
        assert (await a.chat()).status == 200
        old, a.credential = a.credential, "mgn-" + hashlib.sha256(b"new").hexdigest()
        await b.knows(a.peer, b.peer)
        await a.knows(a.peer, b.peer)
        assert (await a.chat()).status == 200
        assert (await b.ask_as_peer(old)).status == 401
        await b.wait_for_metric("modelgrid_peer_connections", 1)


async def test_the_saved_table_takes_requests_to_other_nodes_and_only_its_user_reads_it(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r")]))
        cache = a.folder / "routing.msgpack"
        await until(lambda: cache.exists() and saved(cache).models != (), "the table is saved")
        assert saved(cache).credential == a.credential
        assert cache.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in a.folder.iterdir() if path.name.startswith(".routing")] == []
        # another credential alone is worth saving, too
        a.credential = "mgn-" + hashlib.sha256(b"new").hexdigest()
        await b.knows(a.peer, b.peer)
        await a.knows(a.peer, b.peer)
        await until(lambda: saved(cache).credential == a.credential, "the new credential is saved")
        assert cache.stat().st_mode & 0o777 == 0o600
        await a.stop_control()
        assert await a.stop() == 0
        await a.start()
        await a.wait_ready()
        assert (await a.chat()).status == 200
        for word in (a.credential, b.credential):
            assert word not in a.log.read_text() + b.log.read_text()


def saved(path: Path) -> RoutingTable:
    return msgspec.msgpack.decode(path.read_bytes(), type=RoutingTable)


async def test_without_a_usable_certificate_clients_are_served_all_the_same(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r")]))
        assert await b.stop() == 0
        b.files.certificate.write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
        await b.start()
        await b.wait_ready()
        assert (await b.chat()).status == 200
        assert "the certificate of this node is not usable" in b.log.read_text()
        await a.change(connect_timeout_seconds=0.5)
        answer = await a.chat()
        assert (answer.status, answer.code) == (503, "model_unreachable")


async def test_a_peer_whose_certificate_is_none_is_no_way(tmp_path: Path) -> None:
    async with Upstream(answers) as here, Upstream(answers) as there, cluster(tmp_path, "a", "b") as (a, b):
        for text in ("not a certificate", "", "Zertifikät", b.files.key.read_text()):
            await a.knows(a.peer, replace(b.peer, certificate=text))
            await a.publish(model("m", [a.here(here, "here"), b.here(there, "there")]))
            assert [(await a.chat()).status for _ in range(4)] == [200] * 4
        assert len(there.seen) == 0
        assert "no way to node b" in a.log.read_text()


async def test_what_runs_only_where_no_way_leads_is_refused_at_once(tmp_path: Path) -> None:
    """It is not on its way, so there is nothing to wait for in line; when the way is there it is taken."""
    async with Upstream(answers) as there, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(there, "there")]))
        for peers in ((a.peer,), (a.peer, replace(b.peer, certificate="not a certificate"))):
            await a.knows(*peers)
            began = time.monotonic()
            answer = await a.chat()
            took = time.monotonic() - began
            assert (answer.status, answer.code) == (503, "model_unreachable")
            assert int(answer.header("retry-after") or 0) >= 1
            print(f"\nwithout a way to the node: 503 after {1000 * took:.0f} ms")
            assert took < 1.0
        assert len(there.seen) == 0
        await a.knows(a.peer, b.peer)
        assert (await a.chat()).status == 200


def test_a_gateway_that_takes_peers_needs_a_certificate(capsys: pytest.CaptureFixture[str]) -> None:
    from modelgrid.gateway.process import main

    with pytest.raises(SystemExit) as ended:
        main(["--fd", "3", "--board", "4", "--link", "x", "--cache", "y", "--peers", "5"])
    assert ended.value.code == 2
    assert "--certificate" in capsys.readouterr().err
