"""Limits of API keys at a real gateway."""

import asyncio
import time
from pathlib import Path

import openai
import pytest
from gateway_kit import (
    COMPLETION,
    KEY,
    STREAM_HEAD,
    Peer,
    Seen,
    Upstream,
    answers,
    gateway,
    grant,
    json_answer,
    request,
    secret,
)

from modelgrid.gateway.errors import ApiForm, Refusal, body_of

NAMES = [f"x-ratelimit-{what}-{unit}" for unit in ("requests", "tokens") for what in ("limit", "remaining", "reset")]


async def test_requests_per_minute(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        limited = secret("limited")
        grid.keys = (grant(), grant(limited, id="limited", label="few", requests_per_minute=3))
        await grid.serve(upstream.replica())
        for left in (2, 1, 0):
            answer = await grid.chat(key=limited)
            assert answer.status == 200
            assert answer.header("x-ratelimit-limit-requests") == "3"
            assert answer.header("x-ratelimit-remaining-requests") == str(left)
            assert (answer.header("x-ratelimit-reset-requests") or "").endswith("s")
            assert answer.header("x-ratelimit-limit-tokens") is None
        refused = await grid.chat(key=limited)
        assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
        error = refused.json()["error"]
        assert error["type"] == "requests"
        assert "'few'" in error["message"]
        assert 1 <= int(refused.header("retry-after") or 0) <= 20
        assert refused.header("x-ratelimit-remaining-requests") == "0"
        assert len(upstream.seen) == 3, "what is refused reaches no replica"
        listed = await grid.ask("GET", "/v1/models", key=limited)
        assert listed.status == 200, "only what costs an engine is counted"
        free = await grid.chat()
        assert [free.header(name) for name in NAMES] == [None] * 6
        await grid.idle()


async def test_the_limit_of_all_keys_changes_while_serving(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        own = secret("own")
        grid.keys = (grant(), grant(own, id="own", requests_per_minute=100))
        await grid.change(requests_per_minute=1)
        assert (await grid.chat()).header("x-ratelimit-limit-requests") == "1"
        assert (await grid.chat()).status == 429
        assert (await grid.chat(key=own)).header("x-ratelimit-limit-requests") == "100"
        await grid.change(requests_per_minute=None)
        assert (await grid.chat()).status == 200
        await grid.change(requests_per_minute=1)
        assert (await grid.chat()).status == 429, "what was used up stays used up"


async def test_tokens_are_reserved_and_settled(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def slow(_: Seen, peer: Peer) -> None:
        await held.wait()
        await peer.send(json_answer(COMPLETION))  # 10 tokens in all

    async with Upstream(slow) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        grid.keys = (grant(tokens_per_minute=1000),)
        await grid.serve(upstream.replica())
        body = {"model": "m", "messages": [], "max_tokens": 700}
        first = asyncio.create_task(grid.ask("POST", "/v1/chat/completions", body))
        await grid.wait_for_metric("modelgrid_requests_in_flight", 1)
        refused = await grid.ask("POST", "/v1/chat/completions", body)
        assert (refused.status, refused.json()["error"]["type"]) == (429, "tokens")
        wait = int(refused.header("retry-after") or 0)
        assert 10 <= wait <= 30
        held.set()
        assert (await first).header("x-ratelimit-remaining-tokens") == str(1000 - 700 - len(first_body()) // 4)
        answer = await grid.ask("POST", "/v1/chat/completions", body)
        assert answer.status == 200, "the first took 10 tokens, not 700"
        left = int((await grid.chat()).header("x-ratelimit-remaining-tokens") or 0)
        assert 1000 - 20 - 20 <= left <= 1000 - 10
        await grid.idle()


def first_body() -> str:
    return '{"model": "m", "messages": [], "max_tokens": 700}'


async def test_a_request_that_no_replica_worked_on_takes_no_tokens(tmp_path: Path) -> None:
    async def refuses(_: Seen, peer: Peer) -> None:
        await peer.send(json_answer({"error": {}}, "400 Bad Request"))

    async with Upstream(refuses) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        grid.keys = (grant(tokens_per_minute=1000),)
        await grid.serve(upstream.replica())
        body = {"model": "m", "messages": [], "max_tokens": 900}
        for _ in range(3):
            assert (await grid.ask("POST", "/v1/chat/completions", body)).status == 400
        await grid.idle()


async def test_a_cancelled_request_gives_its_place_back(tmp_path: Path) -> None:
    async def hangs(_: Seen, peer: Peer) -> None:
        await peer.send(STREAM_HEAD)
        await peer.gone()

    async with Upstream(hangs) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        busy = secret("busy")
        grid.keys = (grant(), grant(busy, id="busy", concurrent_requests=2))
        await grid.serve(upstream.replica())
        clients = [grid.client() for _ in range(2)]
        opened = [await client.__aenter__() for client in clients]
        for client in opened:
            await client.send(request("POST", "/v1/chat/completions", {"model": "m"}, key=busy))
        await grid.wait_for_metric("modelgrid_requests_in_flight", 2)
        refused = await grid.chat(key=busy)
        assert (refused.status, refused.json()["error"]["type"]) == (429, "concurrency")
        assert refused.header("retry-after") == "1"
        for client in clients:
            await client.__aexit__(None, None, None)
        await grid.idle()
        upstream.script = answers
        assert (await grid.chat(key=busy)).status == 200


async def test_a_limit_outlives_the_gateway_process(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        grid.keys = (grant(), grant(secret("once"), id="once", requests_per_minute=1, concurrent_requests=1))
        await grid.serve(upstream.replica())
        assert (await grid.chat(key=secret("once"))).status == 200
        await grid.kill()
        await grid.start()
        await grid.wait_for_metric("modelgrid_routing_generation", grid.generation)
        assert (await grid.chat(key=secret("once"))).json()["error"]["type"] == "requests"


async def test_the_sdk_waits_and_tries_again(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        grid.keys = (grant(requests_per_minute=60),)
        await grid.serve(upstream.replica())
        async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{grid.port}/v1", api_key=KEY, max_retries=0) as sdk:
            with pytest.raises(openai.RateLimitError) as caught:
                await asyncio.gather(*(sdk.chat.completions.create(model="m", messages=[]) for _ in range(62)))
            assert caught.value.type == "requests"
            assert caught.value.code == "rate_limit_exceeded"
            started = time.monotonic()
            done = await sdk.with_options(max_retries=5).chat.completions.create(model="m", messages=[])
            assert done.choices
            print(f"served after {time.monotonic() - started:.2f} s")


def test_anthropic_clients_hear_of_limits_in_their_form() -> None:
    refusal = Refusal(status=429, code="rate_limit_exceeded", kind="requests", message="m")
    assert b'"type":"rate_limit_error"' in body_of(refusal, ApiForm.ANTHROPIC, "r")
