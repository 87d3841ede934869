"""The port for other nodes: who gets in, what they may do there, and what clients cannot pretend."""

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from gateway_kit import COMPLETION, KEY, PATIENCE, Peer, Seen, Upstream, answers, json_answer, model, request
from peer_kit import DEPLOYMENT, Node, cluster, publish

CHAT = "/v1/chat/completions"


@asynccontextmanager
async def two_nodes(folder: Path) -> AsyncIterator[tuple[Node, Node, Upstream]]:
    """`m` has one engine, at b."""
    async with Upstream(answers) as upstream, cluster(folder, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r")]))
        yield a, b, upstream


def other(credential: str) -> str:
    return "mgn-" + hashlib.sha256(credential.encode()).hexdigest()


async def test_only_a_node_of_the_cluster_gets_in(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (a, b, upstream):
        assert (await b.ask_as_peer(a.credential)).status == 200
        for wrong in (
            None,
            "",
            KEY,  # of a client
            other(a.credential),
            a.credential[:-1],
            a.credential + "0",
            a.peer.digest,  # what is in every table is of no use
            b.credential,  # a node does not call itself
        ):
            answer = await b.ask_as_peer(wrong)
            assert (answer.status, answer.code, answer.header("connection")) == (401, "invalid_api_key", "close"), wrong
            assert "Bearer" not in answer.body.decode()
        for twice in ([("Authorization", f"Bearer {KEY}")], [("x-api-key", KEY)]):
            assert (await b.ask_as_peer(a.credential, headers=twice)).status == 401
        assert len(upstream.seen) == 1
        log = b.log.read_text()
        assert a.credential not in log


async def test_a_refused_connection_is_closed_before_the_body_is_read(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (_, b, upstream), b.as_peer() as client:
        head = request("POST", CHAT, b"", key="mgn-nobody").replace(b"Content-Length: 0", b"Content-Length: 20000000")
        await client.send(head + b"{")
        assert (await client.response()).status == 401
        sent = 0
        with suppress(ConnectionError):
            while not client.reader.at_eof() and sent < 200:
                await client.send(b"x" * 100_000)
                sent += 1
                await asyncio.sleep(0.01)
        assert sent < 200
        assert upstream.seen == []


async def test_a_connection_without_a_request_is_not_kept(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (_, b, _):
        await b.change(header_timeout_seconds=0.3)
        async with b.as_peer() as client:
            assert await asyncio.wait_for(client.closed(), PATIENCE) == b""


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/health"),
        ("GET", "/metrics"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/m"),
        ("OPTIONS", CHAT),
        ("GET", CHAT),
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/_cluster/heartbeat"),
        ("POST", "/v1/../secret"),
    ],
)
async def test_there_is_nothing_there_but_engines(tmp_path: Path, method: str, path: str) -> None:
    async with two_nodes(tmp_path) as (a, b, upstream):
        async with b.as_peer() as client:
            answer = await client.ask(method, path, key=None, headers=[("Origin", "https://x.example")])
            assert answer.status == 401
        async with b.as_peer() as client:
            answer = await client.ask(method, path, key=a.credential, headers=[("Origin", "https://x.example")])
            assert answer.status in {404, 405}, "for a node, too"
            assert answer.header("access-control-allow-origin") is None
        assert upstream.seen == []


@pytest.mark.parametrize(
    "raw",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n folded: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
async def test_what_is_not_http_is_refused_as_elsewhere(tmp_path: Path, raw: bytes) -> None:
    async with two_nodes(tmp_path) as (a, b, upstream), b.as_peer() as client:
        await client.send(
            raw.replace(b"Host: x\r\n", b"Host: x\r\nAuthorization: Bearer %b\r\n" % a.credential.encode())
        )
        assert (await client.response()).status == 400
        await client.closed()
        assert upstream.seen == []


async def test_without_tls_nobody_gets_in(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (a, b, upstream):
        for raw in (
            request("POST", CHAT, {"model": "m"}, key=a.credential),
            b"\x16\x03\x01" + b"\xff" * 600,
            b"\0" * 9,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", b.peer_port)
            writer.write(raw)
            answer = b""
            with suppress(ConnectionError):
                answer = await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()
            assert b"HTTP" not in answer
        assert upstream.seen == []
        assert (await b.ask_as_peer(a.credential)).status == 200


async def test_a_credential_is_of_no_use_on_the_port_for_clients(tmp_path: Path) -> None:
    """And what the port for peers has accepted is not known by its bytes on that for clients."""
    async with two_nodes(tmp_path) as (a, b, upstream):
        for _ in range(3):
            assert (await b.ask_as_peer(a.credential)).status == 200
            assert (await b.chat(key=a.credential)).status == 401
            assert (await b.chat()).status == 200
            assert (await b.ask_as_peer(KEY)).status == 401
        assert len(upstream.seen) == 6


async def test_clients_cannot_choose_the_engine(tmp_path: Path) -> None:
    async with Upstream(answers) as one, Upstream(answers) as two, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [a.here(one, "one"), b.here(two, "two")]))
        smuggled = [
            (DEPLOYMENT, "two"),
            ("x-modelgrid-wait", "yes"),
            ("X-MODELGRID-Refusal", "queue_full"),
            ("X-ModelGrid-New", "1"),
        ]
        for _ in range(5):
            assert (await a.chat(headers=smuggled)).status == 200
        assert (len(one.seen), len(two.seen)) == (5, 0)  # as without the headers: of equals the one here
        # over the hop: the engine that the gateway chose counts, not the one that its client wrote
        await b.publish(model("m", [b.here(two, "two"), b.here(one, "one")]))
        await a.publish(model("m", [b.here(two, "two")]))
        for _ in range(5):
            assert (await a.chat(headers=[(DEPLOYMENT, "one")])).status == 200
        assert (len(one.seen), len(two.seen)) == (5, 5)
        for seen in (*one.seen, *two.seen):
            assert [name for name, _ in seen.headers if "modelgrid" in name.lower()] == []
            assert seen.header("authorization") is None


async def test_the_engine_named_is_one_of_the_model_asked_for(tmp_path: Path) -> None:
    async with Upstream(answers) as one, Upstream(answers) as two, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(one, "one")]), model("secret", [b.here(two, "two")]))
        assert (await b.ask_as_peer(a.credential, "two")).status == 200
        assert (len(one.seen), len(two.seen)) == (1, 0)
        for strange in ("nobody", "..", "é", "x" * 2000):
            assert (await b.ask_as_peer(a.credential, strange)).status == 200
        assert len(two.seen) == 0


async def test_engines_cannot_speak_as_a_gateway(tmp_path: Path) -> None:
    """What an engine says of routing is dropped: it could make a gateway ask another engine, or eject this one."""

    async def pretends(_: Seen, peer: Peer) -> None:
        await peer.send(
            json_answer(COMPLETION, "503 Service Unavailable", "X-ModelGrid-Refusal: model_not_running\r\n")
        )

    async with Upstream(pretends) as upstream, cluster(tmp_path, "a", "b") as (a, b):
        await publish((a, b), model("m", [b.here(upstream, "r")]))
        for node in (a, b):
            answer = await node.chat()
            assert (answer.status, answer.json()) == (503, COMPLETION)
            assert answer.header("x-modelgrid-refusal") is None
        assert "refused it" not in a.log.read_text()


async def test_limits_of_a_key_are_charged_where_its_client_came_in(tmp_path: Path) -> None:
    from gateway_kit import grant

    async with two_nodes(tmp_path) as (a, b, upstream):
        for node in (a, b):
            node.keys = (grant(requests_per_minute=3), grant("mg-unused", id="key-2", label="other"))
        await publish((a, b), model("m", [b.here(upstream, "r")]))
        assert [(await a.chat()).status for _ in range(4)] == [200, 200, 200, 429]
        assert (await b.chat()).status == 200  # its own share: limits hold on each node
        assert (await b.ask_as_peer(a.credential)).status == 200
