"""Streams through the gateway: timing, back-pressure, usage, memory."""

import asyncio
import json
import socket
import time
from pathlib import Path

from gateway_kit import PATIENCE, STREAM_HEAD, Peer, Seen, Upstream, close_all, gateway, json_answer, request, until

STREAM = {"model": "m", "stream": True}
MEGABYTE = 1024 * 1024


async def test_events_pass_as_they_come(tmp_path: Path) -> None:
    more = asyncio.Event()

    async def one_by_one(_: Seen, peer: Peer) -> None:
        await peer.send(STREAM_HEAD)
        await peer.event("first")
        await more.wait()
        await peer.event("second")
        await peer.event("[DONE]")
        await peer.send(b"0\r\n\r\n")

    async with Upstream(one_by_one) as upstream, gateway(tmp_path, upstream.replica()) as grid, grid.client() as client:
        await client.send(request("POST", "/v1/chat/completions", STREAM))
        head = await client.head()
        assert (head.status, head.header("content-type")) == (200, "text/event-stream; charset=utf-8")
        first = b"data: first\n\n"
        assert await asyncio.wait_for(client.reader.readexactly(len(first) + 5), PATIENCE) == b"d\r\n" + first + b"\r\n"
        more.set()
        rest = await asyncio.wait_for(client.reader.readuntil(b"0\r\n\r\n"), PATIENCE)
        assert b"data: second\n\n" in rest
        assert b"data: [DONE]\n\n" in rest
        # the connection goes on, on both sides
        assert (await client.ask("POST", "/v1/chat/completions", STREAM)).complete
        assert upstream.connections == 1


async def test_an_event_split_by_the_network_reaches_the_client_whole(tmp_path: Path) -> None:
    more = asyncio.Event()

    async def halves(_: Seen, peer: Peer) -> None:
        await peer.send(STREAM_HEAD + b"18\r\ndata: whole\n\ndata: ha")
        await more.wait()
        await peer.send(b"lf\n\r\n1\r\n\n\r\n0\r\n\r\n")

    async with Upstream(halves) as upstream, gateway(tmp_path, upstream.replica()) as grid, grid.client() as client:
        await client.send(request("POST", "/v1/chat/completions", STREAM))
        await client.head()
        first = await asyncio.wait_for(client.reader.readexactly(3 + 13 + 2), PATIENCE)
        assert first == b"d\r\ndata: whole\n\n\r\n"
        more.set()
        assert b"data: half\n\n" in await asyncio.wait_for(client.reader.readuntil(b"0\r\n\r\n"), PATIENCE)


async def test_usage_of_streams_is_counted(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 11, "total_tokens": 16, "completion_tokens": 5}

    async def streams(seen: Seen, peer: Peer) -> None:
        await peer.send(STREAM_HEAD)
        if seen.target == "/v1/messages":
            await peer.event('{"type":"message_start","message":{"usage":{"input_tokens":3,"output_tokens":0}}}')
            await peer.event('{"type":"message_delta","usage":{"input_tokens":3,"output_tokens":2}}')
            await peer.event('{"type":"message_stop"}')
        elif seen.target == "/v1/responses":
            await peer.event('{"type":"response.completed","response":{"usage":{"input_tokens":1,"output_tokens":1}}}')
        else:
            await peer.event('{"choices":[{"delta":{"content":"x"}}]}')
            await peer.event(json.dumps({"choices": [], "usage": usage}))
            await peer.event("[DONE]")
        await peer.send(b"0\r\n\r\n")

    async with Upstream(streams) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses"):
            assert (await grid.ask("POST", path, STREAM)).complete
        figures = await grid.metrics()
        labels = f'{{model="m",replica="replica-{upstream.port}",key="tests",status="2xx"}}'
        assert figures["modelgrid_input_tokens_total" + labels] == 11 + 3 + 1
        assert figures["modelgrid_output_tokens_total" + labels] == 5 + 2 + 1


async def test_answers_without_a_length_end_with_the_replicas_connection(tmp_path: Path) -> None:
    async def until_close(_: Seen, peer: Peer) -> None:
        await peer.send(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nall of it")
        peer.close()

    async with (
        Upstream(until_close) as upstream,
        gateway(tmp_path, upstream.replica()) as grid,
        grid.client() as client,
    ):
        for _ in range(2):
            answer = await client.ask("POST", "/v1/chat/completions", STREAM)
            assert (answer.body, answer.complete) == (b"all of it", True)


async def test_interim_answers_and_trailers_are_not_relayed(tmp_path: Path) -> None:
    async def interim(_: Seen, peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\ncontent-length: 3\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-checksum: 1\r\n\r\n")

    async with Upstream(interim) as upstream, gateway(tmp_path, upstream.replica()) as grid, grid.client() as client:
        for _ in range(2):
            answer = await client.ask("POST", "/v1/chat/completions", STREAM)
            assert (answer.status, answer.body, answer.header("link")) == (200, b"hi", None)


async def test_large_bodies_both_ways(tmp_path: Path) -> None:
    async def echoes(seen: Seen, peer: Peer) -> None:
        await peer.send(json_answer({"size": len(seen.body), "pad": "y" * (3 * MEGABYTE)}))

    async with Upstream(echoes) as upstream, gateway(tmp_path, upstream.replica()) as grid, grid.client() as client:
        for size in (10, 100_000, 8 * MEGABYTE):
            body = json.dumps({"pad": "x" * size, "model": "m"}).encode()
            answer = await client.ask("POST", "/v1/chat/completions", body)
            assert answer.json()["size"] == len(body)
            assert upstream.seen[-1].body == body


async def test_a_slow_reader_of_50_mb_costs_little_and_pauses_the_replica(tmp_path: Path) -> None:
    total = 50 * MEGABYTE
    sent = 0

    async def pours(_: Seen, peer: Peer) -> None:
        nonlocal sent
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        block = b"x" * 65536
        while sent < total:
            await peer.send(block)
            sent += len(block)

    async with Upstream(pours) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        await grid.ask("GET", "/health")
        before = grid.rss()
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", grid.port))
        await loop.sock_sendall(sock, request("POST", "/v1/chat/completions", STREAM))
        got = len(await loop.sock_recv(sock, 1024))
        peak, stalled = grid.rss(), False
        slow_until = time.monotonic() + 3
        while time.monotonic() < slow_until:  # about 1 KB every 10 ms
            got += len(await loop.sock_recv(sock, 1024))
            peak = max(peak, grid.rss())
            here = sent
            await asyncio.sleep(0.01)
            stalled = stalled or (here == sent < total)
        assert stalled
        assert sent < total
        while got < total:
            piece = await asyncio.wait_for(loop.sock_recv(sock, 1 << 20), PATIENCE)
            assert piece
            got += len(piece)
            peak = max(peak, grid.rss())
        sock.close()
        print(f"slow reader of 50 MB: resident memory + {(peak - before) / MEGABYTE:.1f} MB")
        assert peak - before <= 10 * MEGABYTE
        await grid.idle()


async def test_a_reader_that_stops_reading_is_given_up(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def pours(_: Seen, peer: Peer) -> None:
        await peer.send(STREAM_HEAD)
        try:
            while True:
                await peer.event("x" * 60_000)
        except ConnectionError:
            gone.set()
            raise

    async with Upstream(pours) as upstream, gateway(tmp_path, upstream.replica(), idle_timeout_seconds=0.5) as grid:
        async with grid.client() as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(request("POST", "/v1/chat/completions", STREAM))
            await asyncio.wait_for(gone.wait(), PATIENCE)
        await grid.idle()
        status = [
            name for name in await grid.metrics() if name.startswith("modelgrid_requests_total") and "cancelled" in name
        ]
        assert len(status) == 1


async def test_a_reader_that_stops_before_the_end_stops_no_other_request(tmp_path: Path) -> None:
    """Its last bytes find no room, which must not keep the engine's connection from being read for the next one."""
    body = ""

    async def gives(_: Seen, peer: Peer) -> None:
        await peer.send(json_answer({"text": body}))

    async with Upstream(gives) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        for size in range(0, 4 * MEGABYTE, MEGABYTE // 10):  # of some of them the last piece fills the buffer
            body = "x" * size
            async with grid.client() as client:
                client.writer.transport.pause_reading()  # type: ignore[attr-defined]
                await client.send(request("POST", "/v1/chat/completions", {"model": "m"}))
                await until(lambda: len(upstream.seen) % 2 == 1, "the engine answers")
                await asyncio.sleep(0.05)  # what there is room for passes
                client.writer.transport.resume_reading()  # type: ignore[attr-defined]
                assert (await client.response()).json() == {"text": body}
            body = ""
            answer = await asyncio.wait_for(grid.chat(), PATIENCE)
            assert answer.json() == {"text": ""}, f"after an answer of {size} bytes"
        assert upstream.connections == 1
        await grid.idle()


async def test_a_thousand_idle_streams_cost_little_each(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def holds(_: Seen, peer: Peer) -> None:
        await peer.send(STREAM_HEAD)
        await peer.event("first")
        await release.wait()
        await peer.event("[DONE]")
        await peer.send(b"0\r\n\r\n")

    count = 1000
    async with Upstream(holds) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        await grid.ask("GET", "/health")
        before = grid.rss()
        streams = [await asyncio.open_connection("127.0.0.1", grid.port) for _ in range(count)]
        for _, writer in streams:
            writer.write(request("POST", "/v1/chat/completions", STREAM))
        for reader, _ in streams:
            await asyncio.wait_for(reader.readuntil(b"data: first\n\n"), PATIENCE)
        each = (grid.rss() - before) / count / 1024
        print(f"1,000 idle streams: {each:.1f} KB each")
        assert each <= 40
        release.set()
        for reader, _ in streams:
            await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), PATIENCE)
        await close_all(streams)
        await grid.idle()
