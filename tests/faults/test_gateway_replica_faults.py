"""What a client sees when replicas fail: before, during and after each step of a request."""

import asyncio
import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import openai
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from gateway_kit import (
    COMPLETION,
    KEY,
    PATIENCE,
    STREAM_HEAD,
    Peer,
    Seen,
    Upstream,
    answers,
    gateway,
    json_answer,
    model,
    request,
    until,
)

from modelgrid.domain.routing import Replica

CHAT = "/v1/chat/completions"
STREAM = {"model": "m", "stream": True}
Fault = Callable[[Seen, Peer], Awaitable[None]]


def refusing(name: str = "dead") -> Replica:
    """A replica on a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return Replica(id=name, host="127.0.0.1", port=server.getsockname()[1])


async def test_a_replica_that_refuses_connections_costs_nothing(tmp_path: Path) -> None:
    async with Upstream(answers) as well, gateway(tmp_path, refusing(), well.replica()) as grid:
        for _ in range(20):
            assert (await grid.chat()).status == 200
        assert len(well.seen) == 20
        figures = await grid.metrics()
        assert figures['modelgrid_failovers_total{replica="dead"}'] >= 1
        assert figures['modelgrid_upstream_failures_total{replica="dead",kind="connect"}'] >= 1
        assert figures['modelgrid_failovers_total{replica="dead"}'] <= 3  # it is left aside, not asked each time
        await grid.idle()


async def test_another_replica_is_asked_at_once(tmp_path: Path) -> None:
    """Each model has two replicas that refuse; they are left aside afterwards, so its second request meets none."""
    number = 15
    async with Upstream(answers) as well, gateway(tmp_path) as grid:
        dead = [(refusing(f"dead-{index}"), refusing(f"gone-{index}")) for index in range(number)]
        await grid.publish(*(model(f"m-{index}", (*dead[index], well.replica("r"))) for index in range(number)))
        times: dict[bool, list[float]] = {True: [], False: []}
        async with grid.client() as client:
            for index in range(number):
                for first in (True, False):
                    started = time.perf_counter()
                    answer = await client.ask("POST", CHAT, {"model": f"m-{index}"})
                    times[first].append(time.perf_counter() - started)
                    assert answer.status == 200
        figures = await grid.metrics()
    failovers = sum(value for name, value in figures.items() if "failovers_total" in name)
    assert failovers >= number
    refused, direct = median(times[True]), median(times[False])
    print(
        f"R16: connect refused, {failovers:.0f} times at {number} requests: answered in {refused * 1000:.1f} ms "
        f"(median; {direct * 1000:.1f} ms where none refuses)"
    )
    assert refused < direct + 0.025, "nobody waits before the next replica is asked"


async def test_no_replica_can_be_reached(tmp_path: Path) -> None:
    async with gateway(tmp_path, refusing("dead-1"), refusing("dead-2")) as grid:
        answer = await grid.chat()
        assert (answer.status, answer.code, answer.header("retry-after")) == (503, "model_unreachable", "1")
        await grid.idle()


async def test_a_replica_is_used_again_within_a_second_of_its_return(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        assert (await grid.chat()).status == 200
        await upstream.stop()
        assert (await grid.chat()).status == 503
        async with upstream:
            assert (await grid.chat()).status == 200


async def test_a_pooled_connection_that_was_closed_is_no_error(tmp_path: Path) -> None:
    """The replica closes an idle connection just when the next request is on its way."""

    async def closes_after_each(seen: Seen, peer: Peer) -> None:
        await peer.send(json_answer(COMPLETION))
        peer.close()  # without `Connection: close`

    async with (
        Upstream(closes_after_each) as upstream,
        gateway(tmp_path, upstream.replica()) as grid,
        grid.client() as client,
    ):
        for number in range(200):
            answer = await client.ask("POST", CHAT, {"model": "m", "n": number})
            assert answer.status == 200
        bodies = [json.loads(seen.body)["n"] for seen in upstream.seen]
        assert bodies == list(range(200))  # each once, none twice
        await grid.idle()


async def test_a_close_that_crosses_the_request_is_resent_once(tmp_path: Path) -> None:
    """The kernel knows that the replica never got the request: the FIN is there before the gateway has looked."""
    frozen: list[Peer] = []

    async def keeps(seen: Seen, peer: Peer) -> None:
        frozen.append(peer)
        await peer.send(json_answer(COMPLETION))

    async with Upstream(keeps) as upstream, gateway(tmp_path, upstream.replica()) as grid, grid.client() as client:
        resent = 0.0
        for _ in range(20):
            assert (await client.ask("POST", CHAT, {"model": "m"})).status == 200
            # While the gateway stands still, both the next request and the close of its connection arrive.
            assert grid.process is not None
            grid.process.send_signal(19)
            client.writer.write(request("POST", CHAT, {"model": "m"}))
            await client.writer.drain()
            frozen[-1].close()
            await until(lambda: upstream.open == 0, "closed by the replica")
            grid.process.send_signal(18)
            assert (await client.response()).status == 200
            resent = (await grid.metrics()).get(f'modelgrid_resends_total{{replica="replica-{upstream.port}"}}', 0)
            if resent:
                break
        assert resent >= 1
        await grid.idle()


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
async def test_a_connection_that_ends_in_the_middle_of_the_upload_costs_nothing(tmp_path: Path, reset: bool) -> None:
    """Nobody can have acted on half a request: another replica gets it."""

    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        Peer(reader, writer).reset() if reset else writer.close()

    server = await asyncio.start_server(hangs_up, "127.0.0.1", 0)
    bad = Replica(id="hangs-up", host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    body = b'{"model":"m","x":"' + b"y" * 20_000_000 + b'"}'
    async with Upstream(answers) as well, gateway(tmp_path, bad, well.replica()) as grid:
        for _ in range(3):
            assert (await grid.ask("POST", CHAT, body)).status == 200
        assert [len(seen.body) for seen in well.seen] == [len(body)] * 3
        assert (await grid.metrics())['modelgrid_failovers_total{replica="hangs-up"}'] >= 1
        await grid.idle()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("reused", [False, True], ids=["fresh connection", "reused connection"])
async def test_an_accepted_request_is_never_sent_again(tmp_path: Path, reset: bool, reused: bool) -> None:
    async def dies(seen: Seen, peer: Peer) -> None:
        if b"die" not in seen.body:
            await peer.send(json_answer(COMPLETION))
        elif reset:
            peer.reset()
        else:
            peer.close()

    async with Upstream(dies) as upstream, Upstream(dies) as other:  # noqa: SIM117 (the gateway ends first)
        async with gateway(tmp_path, upstream.replica("one"), other.replica("two")) as grid:
            if reused:
                for _ in range(4):
                    assert (await grid.chat()).status == 200
            before = len(upstream.seen) + len(other.seen)
            answer = await grid.ask("POST", CHAT, {"model": "m", "die": 1})
            assert (answer.status, answer.code) == (502, "replica_failed")
            message = answer.json()["error"]["message"]
            assert "'one'" in message or "'two'" in message
            assert "accepted the request" in message
            times = len(upstream.seen) + len(other.seen) - before
            print(f"R16: a replica dies before the first byte of its answer: 502, sent {times} time")
            assert times == 1
            await grid.idle()


async def dies_in_the_middle(seen: Seen, peer: Peer) -> None:
    await peer.send(STREAM_HEAD)
    await peer.event('{"type":"response.created","response":{"id":"resp_1","object":"response","model":"m"}}')
    await peer.send(b'40\r\ndata: {"half an ev')
    peer.close()


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/messages", "/v1/responses"])
async def test_a_replica_that_dies_in_a_stream_ends_it_with_an_error(tmp_path: Path, path: str) -> None:
    async with Upstream(dies_in_the_middle) as upstream, gateway(tmp_path, upstream.replica("gone")) as grid:
        async with grid.client() as client:
            answer = await client.ask("POST", path, STREAM)
            assert (answer.status, answer.complete) == (200, True)
            assert await client.closed() == b""
        assert b"[DONE]" not in answer.body
        assert b"half an ev" not in answer.body
        events = answer.body.decode().rstrip("\n").split("\n\n")
        assert len(events) == 2
        name, data = ("", events[1]) if events[1].startswith("data:") else events[1].split("\n")
        error = json.loads(data[6:])
        assert "'gone'" in json.dumps(error)
        if path == "/v1/messages":
            assert (name, error["type"], error["error"]["type"]) == ("event: error", "error", "api_error")
        elif path == "/v1/responses":
            assert (name, error["type"]) == ("event: response.failed", "response.failed")
            assert (error["response"]["id"], error["response"]["status"]) == ("resp_1", "failed")
        else:
            assert (name, error["error"]["code"]) == ("", "replica_failed")
        print(f"R16: {path}: dies in a stream: {len(events) - 1} event, the error, sent {len(upstream.seen)} time")
        assert len(upstream.seen) == 1
        await grid.idle()


async def test_the_openai_client_raises_when_a_replica_dies_in_a_stream(tmp_path: Path) -> None:
    async def dies(seen: Seen, peer: Peer) -> None:
        await peer.send(STREAM_HEAD)
        await peer.event('{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[]}')
        peer.close()

    async with Upstream(dies) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        async with openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{grid.port}/v1", api_key=KEY, max_retries=0
        ) as client:
            stream = await client.chat.completions.create(model="m", messages=[], stream=True)
            with pytest.raises(openai.APIError, match="in the middle of its answer"):
                async for _ in stream:
                    pass
        await grid.idle()


async def test_a_replica_that_dies_between_head_and_first_event_is_a_502(tmp_path: Path) -> None:
    async def dies(seen: Seen, peer: Peer) -> None:
        await peer.send(STREAM_HEAD)
        peer.close()

    async with Upstream(dies) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        answer = await grid.ask("POST", CHAT, STREAM)
        assert (answer.status, answer.code) == (502, "replica_failed")
        assert len(upstream.seen) == 1


async def test_answers_that_are_cut(tmp_path: Path) -> None:
    """A short one becomes an error; a long one has begun and can only be cut; neither looks whole."""
    sizes = {"short": 1000, "long": 1_000_000}

    async def cuts(seen: Seen, peer: Peer) -> None:
        size = sizes[json.loads(seen.body)["size"]]
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n{" % size)
        await peer.send(b"x" * (size // 2))
        peer.close()

    async def cuts_chunks(seen: Seen, peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        await peer.send(b"2\r\n{}\r\n")
        peer.close()

    async with Upstream(cuts) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        short = await grid.ask("POST", CHAT, {"model": "m", "size": "short"})
        assert (short.status, short.code) == (502, "replica_failed")
        async with grid.client() as client:
            long = await client.ask("POST", CHAT, {"model": "m", "size": "long"})
            assert (long.status, long.complete) == (200, False)
        upstream.script = cuts_chunks
        chunked = await grid.ask("POST", CHAT, {"model": "m"})
        assert chunked.complete is False
        await grid.idle()


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 400_000,
        b"\x00" * 100,
    ],
    ids=["no http", "two lengths", "bad length", "switch", "endless head", "zeros"],
)
async def test_garbage_is_a_502(tmp_path: Path, garbage: bytes) -> None:
    async def babbles(seen: Seen, peer: Peer) -> None:
        await peer.send(garbage)
        await peer.gone()

    async with Upstream(babbles) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        answer = await grid.chat()
        assert (answer.status, answer.code) == (502, "replica_failed")
        assert len(upstream.seen) == 1
        await grid.idle()


async def test_bytes_after_the_answer_are_never_the_next_answer(tmp_path: Path) -> None:
    async def talks_on(seen: Seen, peer: Peer) -> None:
        await peer.send(json_answer({"n": 1}) + json_answer({"n": 2}))
        await peer.gone()

    async with Upstream(talks_on) as upstream, gateway(tmp_path, upstream.replica()) as grid, grid.client() as client:
        for _ in range(3):
            assert (await client.ask("POST", CHAT, {"model": "m"})).json() == {"n": 1}
        assert upstream.connections == 3


async def test_silence_before_and_in_an_answer(tmp_path: Path) -> None:
    async def is_silent(seen: Seen, peer: Peer) -> None:
        if b"stream" in seen.body:
            await peer.send(STREAM_HEAD)
            await peer.event("1")
        await peer.gone()

    async with (
        Upstream(is_silent) as upstream,
        gateway(tmp_path, upstream.replica(), first_byte_timeout_seconds=0.5, idle_timeout_seconds=0.5) as grid,
    ):
        answer = await grid.chat()
        assert (answer.status, answer.code) == (504, "replica_failed")
        assert "did not answer in time" in answer.json()["error"]["message"]
        stream = await grid.ask("POST", CHAT, STREAM)
        assert b"fell silent" in stream.body
        assert b"[DONE]" not in stream.body
        await until(lambda: upstream.open == 0, "the gateway closed both connections")
        await grid.idle()


async def test_an_early_answer_to_a_large_upload(tmp_path: Path) -> None:
    """The replica refuses before it has read the body; its answer counts."""

    async def refuses_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(json_answer({"error": "too large"}, "413 Content Too Large"))
        await writer.drain()
        while await reader.read(1 << 20):
            pass
        writer.close()

    server = await asyncio.start_server(refuses_early, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with gateway(tmp_path, Replica(id="early", host="127.0.0.1", port=port)) as grid:
        body = b'{"model":"m","x":"' + b"y" * 20_000_000 + b'"}'
        answer = await grid.ask("POST", CHAT, body)
        assert answer.status == 413
        await grid.idle()
    server.close()
    await server.wait_closed()


async def test_replica_errors_do_not_count_against_it(tmp_path: Path) -> None:
    async def unhappy(seen: Seen, peer: Peer) -> None:
        await peer.send(json_answer({"error": {}}, "400 Bad Request"))

    async with Upstream(unhappy) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        for _ in range(10):
            assert (await grid.chat()).status == 400
        reported = len(grid.reports)
        await until(lambda: len(grid.reports) > reported + 1, "two more reports", PATIENCE)
        (outcome,) = grid.reports[-1].outcomes
        assert (outcome.consecutive_failures, outcome.ejected) == (0, False)
