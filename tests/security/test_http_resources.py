"""What a client can make the gateway spend, and what it can learn without a key."""

import asyncio
import select
import shutil
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from gateway_kit import KEY, PATIENCE, Gateway, Upstream, answers, gateway, grant, model, request, secret
from tests.daemon_logs import expect_exception, unexpected_exceptions
from tests.ports import free_port

CHAT = "/v1/chat/completions"
MIB = 1024 * 1024
RSS_BOUND = 20 * MIB
FORWARDED = [
    ("X-Forwarded-For", "127.0.0.1"),
    ("X-Real-IP", "127.0.0.1"),
    ("Forwarded", "for=127.0.0.1;host=localhost"),
    ("X-Forwarded-Host", "localhost"),
    ("X-Original-URL", "/health"),
    ("X-Rewrite-URL", "/health"),
    ("X-Forwarded-User", "root"),
]
PATHS = (
    "/", "/v1", "/v1/models", "/v1/models/m", "/metrics", "/v1/_ui/session", "/v1/_cluster/join", "/docs",
    "/openapi.json", "/.git/config", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses",
    "/v1/messages", "/v1/rerank", "/v1/score", "/v1/audio/transcriptions", "/tokenize", "/detokenize", "/pooling",
    "/classify", "/score", "/rerank", "/v2/rerank", "/v1/load_lora_adapter", "/v1/anything", "/health/", "/health/x",
    "//health", "/HEALTH", "/health%00", "/health;x", "/%68ealth",
)  # fmt: skip


def _send_chunks_without_end(port: int) -> tuple[bytes, int]:
    """Send until there is something to read, as clients do that look at both; return that and how much was sent."""
    sent = 0
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(request("POST", CHAT, headers=[("Transfer-Encoding", "chunked")]))
        left = memoryview(chunk)
        while sent < 1024 * MIB:
            readable, writable, _ = select.select([client], [client], [], PATIENCE)
            if readable:
                return client.recv(65536), sent
            assert writable, "it neither reads nor answers"
            sent += (now := client.send(left, socket.MSG_DONTWAIT))
            left = left[now:] or memoryview(chunk)
    raise AssertionError("it has read a gigabyte")


def _send_chunks_and_then_listen(port: int) -> bytes:
    """Send until that fails, and read only then what was answered long before."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(request("POST", CHAT, headers=[("Transfer-Encoding", "chunked")]))
        with suppress(ConnectionError):
            for _ in range(1024 * MIB // 65536):
                client.sendall(chunk)
            raise AssertionError("it has read a gigabyte")
        return client.recv(65536)


async def test_bodies_without_end(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        before = grid.rss()
        async with grid.client() as client:
            await client.send(request("POST", CHAT, headers=[("Content-Length", str(1024 * MIB))]) + b"x" * 100_000)
            assert (await client.response()).status == 413
            await client.closed()
        announced = grid.rss() - before
        answer, sent = await asyncio.to_thread(_send_chunks_without_end, grid.port)
        limit = grid.settings.max_body_bytes
        unannounced = grid.rss() - before
        print(f"S22: 1 GB announced: +{announced / MIB:.1f} MiB; in chunks: refused after {sent / MIB:.0f} MiB sent, "
              f"+{unannounced / MIB:.1f} MiB then, the limit is {limit / MIB:.0f} MiB")  # fmt: skip
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert announced <= RSS_BOUND
        assert sent <= limit + 16 * MIB, "what fits into the sockets' buffers may be sent beyond the limit"
        assert unannounced <= limit + RSS_BOUND
        assert (await asyncio.to_thread(_send_chunks_and_then_listen, grid.port)).startswith(b"HTTP/1.1 413 ")
        assert upstream.seen == []
        assert (await grid.chat()).status == 200


async def test_hostile_json(tmp_path: Path) -> None:
    deep = 200_000
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        before = grid.rss()
        bodies = {
            b'{"model":"m","x":' + b"[" * deep + b"]" * deep + b"}": {400},
            b'{"model":"m","x":' + b'{"a":' * deep + b"1" + b"}" * deep + b"}": {400},
            b"[" * deep: {400},
            b'{"model":"m","n":' + b"9" * 4000 + b"}": {200, 400},
            b'{"model":"m","n":1e999999}': {200, 400},
            b'{"model":"m","max_tokens":-1}': {200},  # the engine's to judge, and passed unchanged
            b'{"model":' + b"9" * 100 + b"}": {400},
            b'{"model":"' + b"m" * MIB + b'"}': {404},
            b'{"model":"\\ud800"}': {400, 404},
            b'{"model":"m\\u0000"}': {404},
            b'{"model":"\xff"}': {400},
            b'{"model":null}': {400},
            b'{"model":["m"]}': {400},
            b'{"model":{"$ne":""}}': {400},
            b'{"mod\\u0065l":"m"}': {200},
            b'{"model":"other","model":"m"}': {200, 400, 404},
            b"null": {400},
            b'"m"': {400},
            b"": {400},
            b"\xef\xbb\xbf{}": {400},
            b'{"model":"m"': {400},
            b'{"model":"m"}{"model":"m"}': {400},
        }
        for body, statuses in bodies.items():
            answer = await grid.ask("POST", CHAT, body)
            assert answer.status in statuses, (body[:60], answer.status, answer.body[:200])
        limited = secret("limited")
        grid.keys = (*grid.keys, grant(limited, id="key-2", label="limited", tokens_per_minute=1000))
        await grid.publish(*grid.models)
        for number in (b"1" + b"0" * 30, b"18446744073709551616", b"9223372036854775808", b"-" + b"9" * 30, b"1e30"):
            answer = await grid.ask("POST", CHAT, b'{"model":"m","max_tokens":' + number + b"}", key=limited)
            assert answer.status in {200, 400, 429}, (number, answer.body[:200])
        grown = grid.rss() - before
        print(f"S22: hostile JSON: +{grown / MIB:.1f} MiB")
        assert grown <= RSS_BOUND
        assert (await grid.chat()).status == 200


async def test_nothing_but_health_is_open(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        assert (await grid.ask("GET", "/health", key=None)).status == 200
        for path in PATHS:
            for method in ("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH"):
                for key in (None, "mg-wrong", "", KEY[:-1], KEY + "A", "Bearer " + KEY):
                    answer = await grid.ask(method, path, {"model": "m"} if method == "POST" else None, key=key)
                    assert answer.status == 401, (method, path, key)
        for scheme in (f"Basic {KEY}", KEY, f"Token {KEY}", f"Bearer {KEY}, Bearer x"):
            answer = await grid.ask("GET", "/v1/models", key=None, headers=[("Authorization", scheme)])
            assert answer.status == 401, scheme
        both = [("x-api-key", "mg-other")]
        assert (await grid.ask("GET", "/v1/models", headers=both)).status == 401, "two that differ"
        assert upstream.seen == []
        print(f"S5: {len(PATHS)} paths, 6 methods each: 401 without a key and with 5 wrong ones; 0 reached a replica")


async def test_forwarded_headers_open_nothing(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        for headers in ([header] for header in FORWARDED):
            assert (await grid.chat(key=None, headers=headers)).status == 401
            assert (await grid.ask("GET", "/metrics", key="mg-wrong", headers=headers)).status == 401
        assert (await grid.chat(headers=FORWARDED)).status == 200
        passed = {name.lower() for name, _ in upstream.seen[0].headers}
        assert passed.isdisjoint({"x-forwarded-for", "x-real-ip", "forwarded", "x-forwarded-host"})
        print(f"S4: {len(FORWARDED)} headers of proxies: 401 with each; 0 passed on")


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
async def test_behind_a_reverse_proxy_it_is_the_same_401(tmp_path: Path) -> None:
    port = free_port()
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        config = tmp_path / "haproxy.cfg"
        config.write_text(
            "defaults\n  mode http\n  option forwardfor\n"
            "  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n"
            f"frontend in\n  bind 127.0.0.1:{port}\n  default_backend out\n"
            f"backend out\n  server one 127.0.0.1:{grid.port}\n"
        )
        proxy = await asyncio.create_subprocess_exec("haproxy", "-db", "-f", str(config))
        try:
            for _ in range(200):
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
            through = Gateway.__new__(Gateway)
            through.port = port
            for key in (None, "mg-wrong"):
                direct = await grid.chat(key=key, headers=FORWARDED[:1])
                proxied = await through.chat(key=key, headers=FORWARDED[:1])
                assert (proxied.status, proxied.code) == (direct.status, direct.code) == (401, "invalid_api_key")
            assert (await through.chat()).status == 200
            print("S4: behind haproxy, with X-Forwarded-For: 127.0.0.1: 401 without a key and with a wrong one")
        finally:
            proxy.terminate()
            await proxy.wait()


async def test_a_key_never_learns_of_models_that_are_not_its_own(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path) as grid:
        bound = secret("bound")
        grid.keys = (grant(), grant(bound, id="key-2", label="bound", models=("mine",)))
        await grid.publish(model("mine", [upstream.replica("r1")]), model("secret", [upstream.replica("r2")]))

        def shape(answer: object, name: str) -> str:
            text = str(answer).replace(name, "NAME")
            return "".join(piece for piece in text.split('"request_id"')[0])

        for path in ("/v1/chat/completions", "/v1/embeddings", "/v1/audio/transcriptions", "/tokenize"):
            known = await grid.ask("POST", path, {"model": "secret"}, key=bound)
            unknown = await grid.ask("POST", path, {"model": "absent"}, key=bound)
            assert known.status == unknown.status == 404
            assert shape(known.body.decode(), "secret") == shape(unknown.body.decode(), "absent")
            assert {name for name, _ in known.headers} == {name for name, _ in unknown.headers}
        for name in ("secret", "absent"):
            assert (await grid.ask("GET", f"/v1/models/{name}", key=bound)).status == 404
        listed = (await grid.ask("GET", "/v1/models", key=bound)).json()["data"]
        assert [entry["id"] for entry in listed] == ["mine"]
        for key in (None, "mg-wrong"):
            texts = {
                shape((await grid.ask("POST", CHAT, {"model": name}, key=key)).body.decode(), name)
                for name in ("mine", "secret", "absent")
            }
            assert len(texts) == 1
        assert upstream.seen == []


def test_the_check_of_all_logs_sees_an_exception(tmp_path: Path) -> None:
    """At the end of the session no log of a daemon may hold one: see `tests/conftest.py`."""
    (tmp_path / "daemon").mkdir()
    log, engine = tmp_path / "daemon" / "stderr-1", tmp_path / "daemon" / "simulated" / "engines" / "a.log"
    engine.parent.mkdir(parents=True)
    engine.write_text("Traceback (most recent call last):\n")
    log.write_text('level=info event="is well" gateway=0\n')
    assert unexpected_exceptions(tmp_path) == []
    told = 'level=error event="Fatal error\\nTraceback (most recent call last):\\n…\\nValueError: x" gateway=0\n'
    died = 'Traceback (most recent call last):\n  File "a.py", line 1, in main\n\nOSError: y\n'
    log.write_text(f"{told}level=info\n{died}level=info event=well\nTask exception was never retrieved\n")
    first, second, third = unexpected_exceptions(tmp_path)
    assert (first.count("ValueError: x"), second.count("OSError: y"), third.count("never retrieved")) == (1, 1, 1)
    assert "event=well" not in second
    expect_exception(log, "OSError: y")
    assert unexpected_exceptions(tmp_path) == [first, third]
    log.write_text("")
