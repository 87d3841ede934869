"""What becomes of a request when the gateway itself fails at it: an exception that nobody expected, at each step.

It is put in from outside, into functions that the compiled form of the gateway calls, too.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from gateway_kit import (
    COMPLETION,
    PATIENCE,
    STREAM_HEAD,
    Gateway,
    Peer,
    Seen,
    Upstream,
    answers,
    grant,
    json_answer,
    request,
    running,
    until,
)

CHAT = "/v1/chat/completions"
STREAM = {"model": "m", "stream": True}

RAISE = """
import sys

if "modelgrid.gateway" in sys.orig_argv:
    import importlib

    def put_in(module, name):
        module = importlib.import_module(f"modelgrid.gateway.{module}")
        real = getattr(module, name)

        def function(*args, **options):
            if b"injected-once" in args[0] and name not in raised:
                raised.add(name)
                raise RuntimeError(f"injected into {name}")
            if b"injected-always" in args[0]:
                raise RuntimeError(f"injected into {name}")
            return real(*args, **options)

        setattr(module, name, function)

    raised = set()
    put_in("endpoints", "resolve")  # while a head is read
    put_in("scan", "fields_of")  # when a request is whole
    put_in("cors", "headers_for")  # when the head of an answer is there, and before an error is written
    put_in("shapes", "decode_chunk")  # while a stream is relayed
    put_in("shapes", "decode_usage")  # when the whole answer was written
"""


@dataclass
class Failing(Gateway):
    """A gateway that raises where it is told to."""

    raises: str = "RuntimeError: injected"

    async def start(self, *pass_fds: int, **environment: str) -> None:
        (self.folder / "sitecustomize.py").write_text(RAISE)
        await super().start(*pass_fds, PYTHONPATH=str(self.folder), **environment)


@asynccontextmanager
async def failing(folder: Path, upstream: Upstream, name: str) -> AsyncIterator[Gateway]:
    """Afterwards it has written one exception, holds nothing, serves as before, blames nobody and ends at once."""
    async with running(Failing(folder, keys=(grant(concurrent_requests=1),))) as grid:
        await grid.serve(upstream.replica("r"))
        yield grid
        await grid.wait_for_metric("modelgrid_client_connections", 1)
        await grid.idle()
        figures = await grid.metrics()
        assert [key for key in figures if "upstream_failures" in key] == []
        told = len(grid.reports)
        await until(lambda: len(grid.reports) > told, "a report")
        assert [(item.replica, item.consecutive_failures) for item in grid.reports[-1].outcomes] == [("r", 0)]
        assert (await grid.ask("POST", CHAT, {"model": "m"})).status == 200
        log = grid.log.read_text()
        assert log.count("Traceback (most recent call last)") == 1
        assert f"RuntimeError: injected into {name}" in log
        assert await grid.stop() == 0


@pytest.mark.parametrize("where", ["while its head is read", "when it is whole", "when it is whole and its head known"])
async def test_an_error_at_a_request(tmp_path: Path, where: str) -> None:
    path, body = ("/v1/injected-always", {"model": "m"}) if "read" in where else (CHAT, {"m": "injected-always"})
    async with (
        Upstream(answers) as upstream,
        failing(tmp_path, upstream, "resolve" if "read" in where else "fields_of") as grid,
        grid.client() as client,
    ):
        for _ in range(2 if "known" in where else 0):
            assert (await client.ask("POST", CHAT, {"model": "m"})).status == 200
        answer = await client.ask("POST", path, body)
        assert (answer.status, answer.code, answer.header("connection")) == (500, "internal_error", "close")
        assert answer.json()["error"]["type"] == "server_error"
        assert await client.closed() == b""
        assert (await grid.metrics())['modelgrid_refused_total{code="internal_error"}'] == 1


async def test_an_error_at_a_pipelined_request_leaves_the_one_before_it_alone(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def when_told(seen: Seen, peer: Peer) -> None:
        await go_on.wait()
        await answers(seen, peer)

    async with (
        Upstream(when_told) as upstream,
        failing(tmp_path, upstream, "fields_of") as grid,
        grid.client() as client,
    ):
        await client.send(request("POST", CHAT, {"model": "m"}) + request("POST", CHAT, {"m": "injected-always"}))
        await until(lambda: len(upstream.seen) == 1, "the first is at the replica")
        go_on.set()
        assert (await client.response()).json() == COMPLETION
        assert (await client.response()).status == 500
        assert await client.closed() == b""


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_error_at_the_head_of_an_answer(tmp_path: Path, chunked: bool) -> None:
    async def script(seen: Seen, peer: Peer) -> None:
        if chunked and seen.header("x-first"):
            await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n")
            await peer.gone()
        else:
            await answers(seen, peer)

    async with (
        Upstream(script) as upstream,
        failing(tmp_path, upstream, "headers_for") as grid,
        grid.client() as client,
    ):
        headers = [("Origin", "http://injected-once"), ("X-First", "yes")]
        answer = await client.ask("POST", CHAT, {"model": "m"}, headers=headers)
        assert (answer.status, answer.code) == (500, "internal_error")
        assert await client.closed() == b""
        assert upstream.open == 0


async def test_an_error_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def script(seen: Seen, peer: Peer) -> None:
        if b"stream" not in seen.body:
            await answers(seen, peer)
            return
        await peer.send(STREAM_HEAD)
        await peer.event("first")
        await go_on.wait()
        await peer.event('{"usage":"injected-always"}')
        await peer.gone()

    async with (
        Upstream(script) as upstream,
        failing(tmp_path, upstream, "decode_chunk") as grid,
        grid.client() as client,
    ):
        await client.send(request("POST", CHAT, STREAM))
        await asyncio.wait_for(client.reader.readuntil(b"data: first\n\n"), PATIENCE)
        go_on.set()
        rest = await client.closed()
        assert b'data: {"error":{' in rest
        assert b'"code":"internal_error"' in rest
        assert b"[DONE]" not in rest
        assert rest.endswith(b"\n\n\r\n0\r\n\r\n")
        await until(lambda: upstream.open == 0, "the replica was told")


async def test_an_error_after_a_whole_answer_adds_nothing_to_it(tmp_path: Path) -> None:
    async def script(seen: Seen, peer: Peer) -> None:
        more = {"injected-always": 1} if b"more" in seen.body else {}
        await peer.send(json_answer({"usage": {"prompt_tokens": 1} | more}))

    async with (
        Upstream(script) as upstream,
        failing(tmp_path, upstream, "decode_usage") as grid,
        grid.client() as client,
    ):
        answer = await client.ask("POST", CHAT, {"model": "m", "more": 1})
        assert answer.json()["usage"]["prompt_tokens"] == 1
        assert await client.closed() == b""


async def test_an_error_that_cannot_even_be_told_cuts_the_connection(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, running(Failing(tmp_path)) as grid:
        await grid.serve(upstream.replica("r"))
        async with grid.client() as client:
            await client.send(request("POST", CHAT, {"model": "m"}, headers=[("Origin", "http://injected-always")]))
            assert await client.closed() == b""
        await grid.idle()
        assert (await grid.chat()).status == 200
        assert await grid.stop() == 0
