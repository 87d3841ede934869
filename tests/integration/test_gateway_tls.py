"""Clients over TLS: the same answers, streams, refusals, pauses and ends as without."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from gateway_kit import COMPLETION, KEY, PATIENCE, STREAM_HEAD, Client, Gateway, Peer, Seen, Upstream, request, running
from gateway_kit import answers as answers_at_once
from peer_kit import pinned

from modelgrid.adapters.node_certificate import ensure_certificate

MEGABYTE = 1 << 20
STREAM = {"model": "m", "messages": [], "stream": True}
CHAT = "/v1/chat/completions"


@dataclass
class TlsGateway(Gateway):
    """`client()` speaks TLS and trusts the gateway's certificate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.files = ensure_certificate(self.folder / "tls", "gateway")
        self.trusted = pinned(self.files.pem)

    def more_arguments(self) -> list[str]:
        return ["--tls-certificate", str(self.files.certificate), "--tls-key", str(self.files.key)]

    @asynccontextmanager
    async def client(self, **options: object) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.trusted, limit=1 << 26, **options
        )
        connection = Client(reader, writer)
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def tls_gateway(folder: Path, upstream: Upstream) -> AsyncIterator[TlsGateway]:
    """Serves model `m`."""
    async with running(TlsGateway(folder)) as grid:
        await grid.serve(upstream.replica())
        yield grid


async def test_requests_follow_each_other_on_one_connection(tmp_path: Path) -> None:
    async with Upstream(answers_at_once) as upstream, tls_gateway(tmp_path, upstream) as grid:
        async with grid.client() as client:
            for _ in range(3):
                answer = await client.ask("POST", CHAT, {"model": "m", "messages": []})
                assert (answer.status, answer.json()) == (200, COMPLETION)
            both = request("POST", CHAT, {"model": "m", "messages": []}) * 2
            await client.send(both)
            assert [(await client.response()).status for _ in range(2)] == [200, 200]
        assert len(upstream.seen) == 5


async def test_large_bodies_both_ways(tmp_path: Path) -> None:
    body = b'{"model": "m", "messages": [], "x": "' + b"a" * (5 * MEGABYTE) + b'"}'
    back = b"z" * (5 * MEGABYTE)

    async def returns(_: Seen, peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(back) + back)

    async with Upstream(returns) as upstream, tls_gateway(tmp_path, upstream) as grid:
        answer = await grid.ask("POST", CHAT, body)
        assert (answer.status, answer.complete, answer.body == back) == (200, True, True)
        assert upstream.seen[0].body == body


async def test_who_speaks_no_tls_gets_nothing_and_disturbs_nobody(tmp_path: Path) -> None:
    async with Upstream(answers_at_once) as upstream, tls_gateway(tmp_path, upstream) as grid:
        reader, writer = await asyncio.open_connection("127.0.0.1", grid.port)
        plain = Client(reader, writer)
        await plain.send(request("POST", CHAT, {"model": "m", "messages": []}))
        assert KEY.encode() not in await plain.closed()
        await plain.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", grid.port, ssl=ssl.create_default_context())
        assert upstream.seen == []
        assert (await grid.chat()).status == 200


async def test_a_refusal_arrives_although_the_body_is_not_read(tmp_path: Path) -> None:
    async with Upstream(answers_at_once) as upstream, tls_gateway(tmp_path, upstream) as grid, grid.client() as client:
        head = request("POST", CHAT, b"", key="nobody").replace(b"Content-Length: 0", b"Content-Length: 500000")
        await client.send(head + b"x" * 100_000)
        answer = await client.response()
        assert (answer.status, answer.code, answer.complete) == (401, "invalid_api_key", True)
        assert upstream.seen == []


async def test_a_reader_that_stops_reading_pauses_the_replica(tmp_path: Path) -> None:
    sent, total = 0, 50 * MEGABYTE

    async def pours(_: Seen, peer: Peer) -> None:
        nonlocal sent
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while sent < total:
            await peer.send(b"x" * 65536)
            sent += 65536

    async with Upstream(pours) as upstream, tls_gateway(tmp_path, upstream) as grid, grid.client() as client:
        before = grid.rss()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(request("POST", CHAT, STREAM))
        last = -1
        while sent != last or sent == 0:  # nothing moves any more
            last = sent
            await asyncio.sleep(0.3)
        assert sent < total
        held = grid.rss() - before
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        answer = await client.response()
        assert (answer.complete, len(answer.body)) == (True, total)
        print(f"stopped reader of 50 MB over TLS: resident memory + {held / MEGABYTE:.1f} MB")
        assert held <= 10 * MEGABYTE


async def test_a_client_that_goes_cancels_its_stream(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def streams(_: Seen, peer: Peer) -> None:
        await peer.send(STREAM_HEAD)
        await peer.event("first")
        await peer.gone()
        gone.set()

    async with Upstream(streams) as upstream, tls_gateway(tmp_path, upstream) as grid:
        async with grid.client() as client:
            await client.send(request("POST", CHAT, STREAM))
            assert (await client.head()).status == 200
            client.reset()
            await asyncio.wait_for(gone.wait(), PATIENCE)
        await grid.idle()


async def test_a_drain_lets_the_stream_end_and_idle_connections_go(tmp_path: Path) -> None:
    ending = asyncio.Event()

    async def streams(_: Seen, peer: Peer) -> None:
        await peer.send(STREAM_HEAD)
        await peer.event("first")
        await ending.wait()
        await peer.event("last")
        await peer.send(b"0\r\n\r\n")

    async with Upstream(streams) as upstream, tls_gateway(tmp_path, upstream) as grid:
        async with grid.client() as client, grid.client(ssl_shutdown_timeout=1.0) as idle:
            await client.send(request("POST", CHAT, STREAM))
            head = await client.head()
            assert head.status == 200
            stopping = asyncio.create_task(grid.stop())
            assert await idle.closed() == b""
            ending.set()
            body = await asyncio.wait_for(client.reader.readuntil(b"0\r\n\r\n"), PATIENCE)
            assert b"first" in body
            assert b"last" in body
            assert await client.closed() == b""
        assert await stopping == 0


async def test_without_a_usable_certificate_clients_are_not_served_at_all(tmp_path: Path) -> None:
    grid = TlsGateway(tmp_path)
    grid.files.key.write_text("no key\n")
    try:
        await grid.start()
        assert grid.process is not None
        assert await asyncio.wait_for(grid.process.wait(), PATIENCE) == 1
    finally:
        grid.close()
    assert "is not usable" in grid.log.read_text()
    assert "Traceback" not in grid.log.read_text()
