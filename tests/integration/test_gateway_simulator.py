"""The gateway in front of simulated engines, asked by the OpenAI client."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest
from gateway_kit import KEY, Gateway, gateway

from modelgrid.domain.routing import Replica
from modelgrid.simulator.spawn import SpawnedEngine, spawned

ASK = [{"role": "user", "content": "Say something."}]


def replica(name: str, engine: SpawnedEngine) -> Replica:
    url = urlsplit(engine.url)
    assert url.hostname is not None
    assert url.port is not None
    return Replica(id=name, host=url.hostname, port=url.port)


def client_of(grid: Gateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{grid.port}/v1", api_key=KEY, max_retries=0)


async def test_every_api_and_the_counts_agree(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(spawned("m", "--sim-itl", "0.001"))
        grid = await stack.enter_async_context(gateway(tmp_path, replica("sim", engine)))
        client = await stack.enter_async_context(client_of(grid))
        into = out = 0
        for _ in range(3):
            whole = await client.chat.completions.create(model="m", messages=ASK, max_tokens=8)
            assert whole.usage is not None
            into, out = into + whole.usage.prompt_tokens, out + whole.usage.completion_tokens
        stream = await client.chat.completions.create(
            model="m", messages=ASK, max_tokens=8, stream=True, stream_options={"include_usage": True}
        )
        usages = [chunk.usage async for chunk in stream if chunk.usage is not None]
        into, out = into + usages[-1].prompt_tokens, out + usages[-1].completion_tokens
        text = await client.completions.create(model="m", prompt="Once", max_tokens=4)
        assert text.usage is not None
        into, out = into + text.usage.prompt_tokens, out + text.usage.completion_tokens
        response = await client.responses.create(model="m", input="Say something.", max_output_tokens=8)
        assert response.usage is not None
        into, out = into + response.usage.input_tokens, out + response.usage.output_tokens
        events = await client.responses.create(model="m", input="Say more.", max_output_tokens=8, stream=True)
        last = [event async for event in events][-1]
        assert last.type in {"response.completed", "response.incomplete"}
        assert last.response.usage is not None
        into, out = into + last.response.usage.input_tokens, out + last.response.usage.output_tokens
        figures = await grid.metrics()
        labels = '{model="m",replica="sim",key="tests",status="2xx"}'
        assert figures["modelgrid_requests_total" + labels] == 7
        assert figures["modelgrid_input_tokens_total" + labels] == into
        assert figures["modelgrid_output_tokens_total" + labels] == out
        assert (await grid.ask("POST", "/v1/tokenize", {"model": "m", "prompt": "one two"})).status == 200
        await grid.idle()


async def test_an_engine_that_kills_itself_mid_stream(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        bad = await stack.enter_async_context(spawned("m", "--sim-fault", "die-mid-stream=3"))
        well = await stack.enter_async_context(spawned("m"))
        grid = await stack.enter_async_context(gateway(tmp_path, replica("bad", bad)))
        client = await stack.enter_async_context(client_of(grid))
        stream = await client.chat.completions.create(model="m", messages=ASK, max_tokens=50, stream=True)
        with pytest.raises(openai.APIError, match="Replica 'bad'"):
            async for _ in stream:
                pass
        await bad.wait_exit()
        await grid.serve(replica("bad", bad), replica("well", well))
        for _ in range(6):  # the dead one refuses: nobody notices
            assert (await client.chat.completions.create(model="m", messages=ASK, max_tokens=2)).choices
        await grid.idle()


async def test_twenty_streams_and_control_restarts_among_them(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(spawned("m", "--sim-itl", "0.02", "--sim-concurrency", "200"))
        grid = await stack.enter_async_context(gateway(tmp_path, replica("sim", engine)))
        client = await stack.enter_async_context(client_of(grid))

        async def one() -> int:
            stream = await client.chat.completions.create(
                model="m",
                messages=ASK,
                max_tokens=200,
                stream=True,
                stream_options={"include_usage": True},
                extra_body={"ignore_eos": True},
            )
            usage = [chunk.usage async for chunk in stream if chunk.usage is not None][-1]
            return usage.completion_tokens

        running = [asyncio.create_task(one()) for _ in range(20)]
        await grid.wait_for_metric("modelgrid_requests_in_flight", 1, at_least=True)
        await grid.stop_control()
        await grid.start_control()
        generated = await asyncio.gather(*running)
        labels = '{model="m",replica="sim",key="tests",status="2xx"}'
        assert (await grid.metrics())["modelgrid_output_tokens_total" + labels] == sum(generated)
        await grid.idle()
