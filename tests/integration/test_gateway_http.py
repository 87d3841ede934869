"""HTTP at the edge: limits, timeouts, framing that cannot be trusted."""

import asyncio
import time
from pathlib import Path
from statistics import median

import pytest
from gateway_kit import (
    KEY,
    Client,
    Peer,
    Seen,
    Upstream,
    answers,
    close_all,
    gateway,
    json_answer,
    request,
    secret,
)

CHAT = "/v1/chat/completions"
BODY = b'{"model":"m"}'
AUTH = b"Authorization: Bearer %b\r\n" % KEY.encode()
GOOD = request("POST", CHAT, {"model": "m"})

START = b"POST /v1/x HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

MALFORMED = {
    "length and chunks": START + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "chunks and length": START + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": START + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "two equal lengths": START + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "a list of lengths": START + b"Content-Length: 1, 1\r\n\r\na",
    "signed length": START + b"Content-Length: +1\r\n\r\na",
    "empty length": START + b"Content-Length:\r\n\r\n",
    "endless length": START + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "unknown coding": START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "gzip, chunked": START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": START + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": START + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /v1/x HTTP/1.0\r\nHost: a\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "bad chunk size": START + AUTH + CHUNKED + b"\r\n-1\r\na\r\n",
    "chunk without CR": START + AUTH + CHUNKED + b"\r\n1\na\r\n0\r\n\r\n",
    "chunk overflow": START + AUTH + CHUNKED + b"\r\nfffffffffffffffff\r\n",
    "bare LF": b"POST /v1/x HTTP/1.1\nHost: a\n\n",
    "bare LF in a header": b"POST /v1/x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "obs-fold": START + b"X: a\r\n b\r\n\r\n",
    "space before colon": b"POST /v1/x HTTP/1.1\r\nHost : a\r\n\r\n",
    "space before the first header": b"POST /v1/x HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n",
    "NUL in a value": START + b"X: a\0b\r\n\r\n",
    "no Host": b"POST /v1/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "two Hosts": START + b"Host: a\r\nContent-Length: 0\r\n\r\n",
    "empty Host": b"POST /v1/x HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n",
    "Host with a path": b"POST /v1/x HTTP/1.1\r\nHost: a/?x=\r\nContent-Length: 0\r\n\r\n",
    "Host with a user": b"POST /v1/x HTTP/1.1\r\nHost: b@a\r\nContent-Length: 0\r\n\r\n",
    "long Host": b"POST /v1/x HTTP/1.1\r\nHost: " + b"a" * 300 + b"\r\nContent-Length: 0\r\n\r\n",
    "unknown version": b"POST /v1/x HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /health\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "unknown method": b"BREW /v1/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "not ASCII": "POST /v1/é HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_requests_get_one_400_and_the_connection_is_closed(tmp_path: Path, raw: bytes) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid, grid.client() as client:
        await client.send(raw + GOOD)  # what follows must never be taken for a second request
        answer = await client.response()
        assert (answer.status, answer.code) == (400, "malformed_request")
        assert answer.header("connection") == "close"
        assert await client.closed() == b""
        assert upstream.seen == []
        assert (await grid.chat()).status == 200


async def test_a_malformed_request_behind_a_good_one(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid, grid.client() as client:
        await client.send(GOOD + MALFORMED["two lengths"] + GOOD)
        assert (await client.response()).status == 200
        assert (await client.response()).status == 400
        assert await client.closed() == b""
        assert len(upstream.seen) == 1


async def test_nothing_is_read_after_connection_close(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid, grid.client() as client:
        await client.send(request("POST", CHAT, {"model": "m"}, headers=[("Connection", "close")]) + GOOD)
        answer = await client.response()
        assert (answer.status, answer.header("connection")) == (200, "close")
        assert await client.closed() == b""
        assert len(upstream.seen) == 1


async def test_chunked_requests_reach_the_replica_with_a_length(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid, grid.client() as client:
        head = request("POST", CHAT, headers=[("Transfer-Encoding", "chunked")])
        await client.send(head + b'3;ext="x"\r\n{"m\r\na\r\nodel":"m"}\r\n0\r\nTrailer-Field: Host\r\n\r\n' + GOOD)
        assert (await client.response()).status == 200
        assert (await client.response()).status == 200
        assert upstream.seen[0].body == BODY
        assert upstream.seen[0].header("transfer-encoding") is None
        assert upstream.seen[0].header("trailer-field") is None


async def test_a_request_in_single_bytes(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid, grid.client() as client:
        for byte in GOOD:
            await client.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await client.response()).status == 200
        assert upstream.seen[0].body == b'{"model": "m"}'


async def test_headers_over_the_limit(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        large = request("POST", CHAT, {"model": "m"}, headers=[(f"X-{n}", "v" * 1000) for n in range(70)])
        endless = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nX: " + b"v" * 400_000
        long_url = request("POST", CHAT + "?" + "a" * 70_000, {"model": "m"})
        for raw in (large, endless, long_url):
            async with grid.client() as client:
                await client.send(raw)
                answer = await client.response()
                assert (answer.status, answer.code) == (431, "headers_too_large")
                await client.closed()
        fits = [(f"X-{n}", "v" * 1000) for n in range(50)]
        assert (await grid.chat(headers=fits)).status == 200


async def test_bodies_over_the_limit(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica(), max_body_bytes=1000) as grid:
        async with grid.client() as client:
            await client.send(request("POST", CHAT, headers=[("Content-Length", "1000000000")]))
            answer = await client.response()
            assert (answer.status, answer.code) == (413, "body_too_large")
            assert await client.closed() == b""
        async with grid.client() as client:
            await client.send(request("POST", CHAT, headers=[("Transfer-Encoding", "chunked")]))
            chunk = b"200\r\n" + b"x" * 512 + b"\r\n"
            await client.send(chunk + chunk)
            assert (await client.response()).status == 413
        async with grid.client() as client:  # whole and only a little too long: the connection can go on
            await client.send(request("POST", CHAT, b"x" * 1001) + GOOD)
            assert (await client.response()).status == 413
            assert (await client.response()).status == 200
        exact = b'{"model":"m","x":"' + b"y" * (1000 - 20) + b'"}'
        assert len(exact) == 1000
        assert (await grid.ask("POST", CHAT, exact)).status == 200
        assert len(upstream.seen) == 2


async def test_a_refused_upload_still_sees_the_answer(tmp_path: Path) -> None:
    """Closing with unread bytes would reset the connection and lose the answer."""
    async with gateway(tmp_path) as grid, grid.client() as client:
        await client.send(request("POST", CHAT, headers=[("Content-Length", "20000000")], key=None))
        await client.send(b"x" * 500_000)
        answer = await client.response()
        assert (answer.status, answer.header("connection")) == (401, "close")


async def test_slow_headers_and_bodies(tmp_path: Path) -> None:
    async with gateway(tmp_path, header_timeout_seconds=0.5) as grid:
        for start in (b"POST /v1/x HT", GOOD[:-5], GOOD.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"):
            async with grid.client() as client:
                await client.send(start)
                answer = await client.response()
                assert (answer.status, answer.code) == (408, "request_timeout")
                assert answer.header("connection") == "close"
        async with grid.client() as client:  # one header a moment does not keep the head open
            await client.send(b"POST /v1/x HTTP/1.1\r\n")
            drip = asyncio.create_task(drip_headers(client))
            assert (await client.response()).status == 408
            drip.cancel()
        async with grid.client() as client:  # nothing was asked, so nothing is answered
            assert await client.closed() == b""


async def drip_headers(client: Client) -> None:
    number = 0
    while True:
        number += 1
        await client.send(b"X-%d: y\r\n" % number)
        await asyncio.sleep(0.1)


async def test_idle_connections_are_closed(tmp_path: Path) -> None:
    async with gateway(tmp_path, keep_alive_seconds=0.3) as grid, grid.client() as client:
        assert (await client.ask("GET", "/health")).status == 200
        assert await client.closed() == b""


async def test_expect_100_continue(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        head, _, body = request("POST", CHAT, BODY, headers=[("Expect", "100-continue")]).partition(b"\r\n\r\n")
        async with grid.client() as client:
            for _ in range(2):
                await client.send(head + b"\r\n\r\n")
                assert (await client.head()).status == 100
                await client.send(body)
                assert (await client.response()).status == 200
            await client.send(head + b"\r\n\r\n" + body)  # whoever sends the body at once needs no 100
            assert (await client.response()).status == 200
        assert upstream.seen[0].header("expect") is None
        async with grid.client() as client:  # refused before the body is sent
            await client.send(head.replace(KEY.encode(), secret("other").encode()) + b"\r\n\r\n")
            assert (await client.response()).status == 401
            assert await client.closed() == b""
        other = await grid.chat(headers=[("Expect", "miracles")])
        assert other.status == 417


async def test_upgrades_are_not_followed(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        upgrade = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")]
        chunked = request("POST", CHAT, headers=[*upgrade, ("Transfer-Encoding", "chunked")]) + b"d\r\n" + BODY
        whole = request("POST", CHAT, BODY, headers=upgrade)
        async with grid.client() as client:
            await client.send((whole + chunked + b"\r\n0\r\n\r\n" + request("GET", "/health", headers=upgrade)) * 300)
            for _ in range(300):
                assert [(await client.response()).status for _ in range(3)] == [200, 200, 200]
            await client.send(whole[:-5])
            await grid.idle()
            await client.send(whole[-5:])
            assert (await client.response()).status == 200
        assert {seen.body for seen in upstream.seen} == {BODY}
        assert upstream.seen[0].header("upgrade") is None
        async with grid.client() as client:
            await client.send(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n" + AUTH + b"\r\nanything")
            assert (await client.response()).status == 404
            await client.closed()


async def test_compressed_bodies_are_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path) as grid:
        answer = await grid.chat(headers=[("Content-Encoding", "gzip")])
        assert (answer.status, answer.code) == (415, "unsupported_encoding")


async def test_http_1_0(tmp_path: Path) -> None:
    async def chunks(seen: Seen, peer: Peer) -> None:
        if b"stream" not in seen.body:
            await peer.send(json_answer({"ok": True}))
            return
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        await peer.event("1")
        await peer.event("2")
        await peer.send(b"0\r\n\r\n")

    async with Upstream(chunks) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        async with grid.client() as client:
            await client.send(request("POST", CHAT, {"model": "m"}, version="1.0"))
            answer = await client.response()
            assert (answer.json(), answer.header("connection")) == ({"ok": True}, "close")
            assert await client.closed() == b""
        async with grid.client() as client:
            await client.send(request("POST", CHAT, {"model": "m", "stream": True}, version="1.0"))
            answer = await client.response()
            assert answer.header("transfer-encoding") is None
            assert answer.body == b"data: 1\n\ndata: 2\n\n"


async def test_a_thousand_slow_connections_disturb_nobody(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica(), header_timeout_seconds=2) as grid:

        async def times() -> list[float]:
            took = []
            for _ in range(20):
                started = time.monotonic()
                assert (await grid.chat()).status == 200
                took.append(time.monotonic() - started)
            return took

        alone = await times()
        slow = [await asyncio.open_connection("127.0.0.1", grid.port) for _ in range(1000)]
        for _, writer in slow:
            writer.write(b"POST /v1/chat")
        began = time.monotonic()
        beside = await times()
        first = await asyncio.wait_for(slow[0][0].read(), 20)
        assert first.startswith(b"HTTP/1.1 408 ")
        await grid.wait_for_metric("modelgrid_client_connections", 1)
        print(
            f"S3: 1,000 connections with half a head: closed {time.monotonic() - began:.1f} s later (408 after 2 s); "
            f"20 requests beside them, the slowest {max(beside) * 1000:.0f} ms ({max(alone) * 1000:.0f} ms alone)"
        )
        assert median(beside) < 3 * median(alone) + 0.02
        assert max(beside) < max(alone) + 0.5
        await close_all(slow)
