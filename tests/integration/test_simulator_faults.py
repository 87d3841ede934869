"""Each fault of the simulated engine, seen from outside."""

import asyncio
import json
import signal

import httpx
import pytest

from modelgrid.simulator.spawn import spawned

CHAT = "/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "hello"}]}
STREAM = {**BODY, "stream": True}


async def events_before_the_break(http: httpx.AsyncClient) -> int:
    """Return how many events of a stream came before its connection broke; it must break."""
    count = 0
    async with http.stream("POST", CHAT, json=STREAM) as answer:
        try:
            async for line in answer.aiter_lines():
                count += bool(line)
        except httpx.RemoteProtocolError:
            return count
    raise AssertionError("the stream ended in good order")


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("oom-at-load", 1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate"),
        ("kv-too-small", 1, "ValueError: To serve at least one request with the model's max seq len (8192)"),
        ("exit-at-load=137", 137, "Starting to load model"),
    ],
)
async def test_faults_of_the_load(fault: str, code: int, words: str) -> None:
    async with spawned("m", "--sim-fault", fault, ready=False) as engine:
        assert await engine.wait_exit() == code
        assert any(words in line for line in engine.lines)
        assert not any("startup complete" in line for line in engine.lines)


async def test_a_cache_below_the_context_fails_without_any_fault() -> None:
    arguments = ("--max-model-len", "4096", "--sim-kv-cache-tokens", "2048")
    async with spawned("m", *arguments, ready=False) as engine:
        assert await engine.wait_exit() == 1
        (line,) = [line for line in engine.lines if "ValueError" in line]
        assert "max seq len (4096), (0.50 GiB KV cache is needed" in line
        assert "available KV cache memory (0.25 GiB)" in line
        assert "estimated maximum model length is 2048" in line


async def test_hang_at_load_still_obeys_sigterm() -> None:
    async with spawned("m", "--sim-fault", "hang-at-load", ready=False) as engine:
        await engine.wait_line("Starting to load model")
        with pytest.raises(TimeoutError):
            await engine.wait_ready(0.3)
        assert await engine.stop() == 0


async def test_exit_after_answers_the_last_request_first() -> None:
    async with (
        spawned("m", "--sim-fault", "exit-after=3") as engine,
        httpx.AsyncClient(base_url=engine.url) as http,
    ):
        for _ in range(3):
            assert (await http.post(CHAT, json=BODY)).status_code == 200
        assert await engine.wait_exit() == 1
        assert any("EngineDeadError" in line for line in engine.lines)


async def test_status_at_a_rate_and_switched_at_run_time() -> None:
    async with (
        spawned("m", "--sim-fault", "status=503:0.25") as engine,
        httpx.AsyncClient(base_url=engine.url) as http,
    ):
        codes = [(await http.post(CHAT, json=BODY)).status_code for _ in range(8)]
        assert codes == [200, 200, 200, 503] * 2
        assert (await http.get("/health")).status_code == 200
        changed = await http.post("/sim/faults", json={"faults": ["status=429"]})
        assert changed.json() == {"faults": {"status": 429}}
        refused = await http.post(CHAT, json=BODY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, 429)
        assert refused.json()["error"]["type"] == "Too Many Requests"
        assert (await http.get("/sim")).json()["faults"] == {"status": 429}
        assert (await http.post("/sim/faults", json={"faults": []})).json() == {"faults": {}}
        assert (await http.post(CHAT, json=BODY)).status_code == 200
        for wrong in ({"faults": ["no-such"]}, {"faults": ["oom-at-load"]}, {"faults": "hang"}, {}):
            assert (await http.post("/sim/faults", json=wrong)).status_code == 400
        assert (await http.get("/sim")).json()["faults"] == {}


async def test_slow_multiplies_the_latencies() -> None:
    async with (
        spawned("m", "--sim-ttft", "0.05", "--sim-itl", "0.005") as engine,
        httpx.AsyncClient(base_url=engine.url) as http,
    ):
        loop, spent = asyncio.get_running_loop(), []
        for faults in ([], ["slow=8"]):
            await http.post("/sim/faults", json={"faults": faults})
            began = loop.time()
            await http.post(CHAT, json={**BODY, "max_tokens": 11})
            spent.append(loop.time() - began)
        assert spent[0] < 0.6
        assert spent[1] >= 0.79


async def test_hang_accepts_and_answers_when_it_is_over() -> None:
    async with spawned("m") as engine, httpx.AsyncClient(base_url=engine.url) as http:
        await http.post("/sim/faults", json={"faults": ["hang"]})
        waiting = asyncio.create_task(http.post(CHAT, json=BODY))
        leaving = asyncio.create_task(http.post(CHAT, json=BODY, timeout=0.3))
        with pytest.raises(httpx.ReadTimeout):
            await leaving
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/sim")).json()["running"] == 1
        assert not waiting.done()
        await http.post("/sim/faults", json={"faults": []})
        assert (await waiting).status_code == 200
        assert (await http.get("/sim")).json()["running"] == 0


async def test_freeze_answers_nothing_and_unhealthy_says_so() -> None:
    async with spawned("m") as engine, httpx.AsyncClient(base_url=engine.url) as http:
        await http.post("/sim/faults", json={"faults": ["freeze"]})
        for path in ("/health", "/metrics", "/v1/models"):
            with pytest.raises(httpx.ReadTimeout):
                await http.get(path, timeout=0.2)
        await http.post("/sim/faults", json={"faults": ["unhealthy"]})
        assert (await http.get("/health")).status_code == 503


async def test_die_mid_stream_is_a_sigkill_after_the_tokens() -> None:
    async with (
        spawned("m", "--sim-fault", "die-mid-stream=5") as engine,
        httpx.AsyncClient(base_url=engine.url) as http,
    ):
        assert (await http.post(CHAT, json=BODY)).status_code == 200
        assert await events_before_the_break(http) == 1 + 5
        assert await engine.wait_exit() == -signal.SIGKILL


async def test_drop_mid_stream_leaves_the_engine_alive() -> None:
    async with spawned("m") as engine, httpx.AsyncClient(base_url=engine.url) as http:
        await http.post("/sim/faults", json={"faults": ["drop-mid-stream=0"]})
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post(CHAT, json=STREAM)
        await http.post("/sim/faults", json={"faults": ["drop-mid-stream=2"]})
        assert await events_before_the_break(http) == 1 + 2
        seen = (await http.get("/sim")).json()
        assert (seen["running"], seen["waiting"]) == (0, 0)
        text = (await http.get("/metrics")).text
        assert 'vllm:generation_tokens_total{engine="0",model_name="m"} 2.0' in text


@pytest.mark.parametrize(
    ("path", "body", "event"),
    [
        (CHAT, STREAM, "data: "),
        ("/v1/completions", {"prompt": "x", "stream": True}, "data: "),
        ("/v1/messages", {**STREAM, "model": "m", "max_tokens": 9}, "event: error\ndata: "),
        ("/v1/responses", {"input": "x", "stream": True}, "event: error\ndata: "),
    ],
)
async def test_error_mid_stream_has_the_form_of_its_api(path: str, body: dict[str, object], event: str) -> None:
    async with (
        spawned("m", "--sim-fault", "error-mid-stream=2") as engine,
        httpx.AsyncClient(base_url=engine.url) as http,
    ):
        answer = await http.post(path, json=body)
        events = answer.text.strip().split("\n\n")
        error = events[-2] if events[-1] == "data: [DONE]" else events[-1]
        assert error.startswith(event)
        assert "Internal server error" in json.dumps(json.loads(error.removeprefix(event)))
        assert (await http.get("/sim")).json()["running"] == 0
