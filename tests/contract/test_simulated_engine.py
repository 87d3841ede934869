"""The simulated engine answers as vLLM does, seen through the OpenAI SDK, raw JSON and a Prometheus parser."""

import json
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelgrid.simulator.spawn import SpawnedEngine, spawned

PROMPT = [{"role": "user", "content": "Tell me about the harbour and the lantern, please."}]
CONTEXT = 1000


@pytest.fixture
async def engine() -> AsyncIterator[SpawnedEngine]:
    async with spawned(
        "org/Model-8B", "--served-model-name", "org/Model-8B", "alias", "--max-model-len", str(CONTEXT)
    ) as running:
        yield running


@pytest.fixture
async def client(engine: SpawnedEngine) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


@pytest.fixture
async def http(engine: SpawnedEngine) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=engine.url) as plain:
        yield plain


async def metrics(http: httpx.AsyncClient) -> dict[str, float]:
    """Return every sample by name, with its labels but for the engine's own, as Prometheus reads them."""
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = {name: text for name, text in sample.labels.items() if name not in {"engine", "model_name"}}
            samples[sample.name + (str(labels) if labels else "")] = sample.value
    return samples


async def test_health_version_and_models(client: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    for path in ("/health", "/ping"):
        answer = await http.get(path)
        assert (answer.status_code, answer.content) == (200, b"")
    assert "simulated" in (await http.get("/version")).json()["version"]
    models = (await client.models.list()).data
    assert [model.id for model in models] == ["org/Model-8B", "alias"]
    assert models[0].owned_by == "vllm"
    assert models[0].to_dict()["max_model_len"] == CONTEXT
    assert (await http.get("/sim")).json()["simulated"] is True


async def test_chat(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="alias", messages=PROMPT, temperature=0.3, seed=7)
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.model == "org/Model-8B"
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    assert choice.message.role == "assistant"
    assert choice.message.content.startswith("Simulated answer: ")
    # "user:" + the text + a line end, four bytes to a token.
    assert answer.usage.prompt_tokens == math.ceil((len(PROMPT[0]["content"]) + 6) / 4)
    assert answer.usage.completion_tokens == 64
    again = await client.chat.completions.create(model="org/Model-8B", messages=PROMPT)
    assert again.choices[0].message.content == choice.message.content
    assert again.id != answer.id


async def test_chat_has_the_fields_of_vllm(http: httpx.AsyncClient) -> None:
    answer = (await http.post("/v1/chat/completions", json={"messages": PROMPT, "unknown_field": 1})).json()
    assert list(answer) == [
        "id", "object", "created", "model", "choices", "service_tier", "system_fingerprint", "usage",
        "prompt_logprobs", "prompt_token_ids", "prompt_text", "kv_transfer_params", "ec_transfer_params", "metrics",
    ]  # fmt: skip
    assert list(answer["choices"][0]) == [
        "index", "message", "logprobs", "finish_reason", "stop_reason", "token_ids", "routed_experts",
    ]  # fmt: skip


async def test_length_choices_and_stop(client: openai.AsyncOpenAI) -> None:
    short = await client.chat.completions.create(model="alias", messages=PROMPT, max_completion_tokens=5, n=3)
    assert [choice.index for choice in short.choices] == [0, 1, 2]
    assert {choice.finish_reason for choice in short.choices} == {"length"}
    assert len({choice.message.content for choice in short.choices}) == 3
    assert short.usage.completion_tokens == 15
    stopped = await client.chat.completions.create(model="alias", messages=PROMPT, stop=["never", "answer:"])
    assert stopped.choices[0].message.content == "Simulated "
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].to_dict()["stop_reason"] == "answer:"
    assert stopped.usage.completion_tokens == 3
    forced = await client.chat.completions.create(
        model="alias", messages=PROMPT, max_tokens=200, extra_body={"ignore_eos": True}
    )
    assert forced.usage.completion_tokens == 200
    assert forced.choices[0].finish_reason == "length"


async def test_chat_stream_with_usage(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="alias", messages=PROMPT)
    stream = await client.chat.completions.create(
        model="alias", messages=PROMPT, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    first, *deltas, last = chunks
    assert first.choices[0].delta.role == "assistant"
    assert first.choices[0].delta.content == ""
    assert "".join(chunk.choices[0].delta.content for chunk in deltas) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in deltas] == [None] * 63 + ["stop"]
    assert last.choices == []
    assert last.usage.completion_tokens == len(deltas) == 64
    assert last.usage.prompt_tokens == whole.usage.prompt_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


async def test_streams_end_with_done_and_count_on_the_way(http: httpx.AsyncClient) -> None:
    body = {
        "messages": PROMPT,
        "stream": True,
        "max_tokens": 3,
        "n": 2,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    answer = await http.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["transfer-encoding"] == "chunked"
    *events, done, end = answer.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert [chunk["choices"][0]["index"] for chunk in chunks[:-1]] == [0, 1] * 4
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [0, 0, 1, 1, 2, 2, 3, 3, 6]
    without = await http.post("/v1/chat/completions", json={**body, "stream_options": None, "n": 1})
    assert "usage" not in without.text


async def test_completions(client: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    answer = await client.completions.create(model="alias", prompt="Once upon a time")
    assert answer.id.startswith("cmpl-")
    assert answer.object == "text_completion"
    assert answer.usage.prompt_tokens == 4
    assert answer.usage.completion_tokens == 16
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].text.startswith("Simulated answer:")
    several = await client.completions.create(model="alias", prompt=["one", "two\n"], n=2, max_tokens=4, echo=True)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    assert [choice.text[:4] for choice in several.choices] == ["oneS", "oneS", "two\n", "two\n"]
    ids = (await http.post("/tokenize", json={"prompt": "Once upon a time"})).json()["tokens"]
    by_ids = await client.completions.create(model="alias", prompt=ids)
    assert by_ids.choices[0].text == answer.choices[0].text
    assert by_ids.usage == answer.usage
    stream = await client.completions.create(
        model="alias", prompt="Once upon a time", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == answer.choices[0].text
    assert chunks[-1].usage == answer.usage


async def test_responses(client: openai.AsyncOpenAI) -> None:
    whole = await client.responses.create(model="alias", input="Tell me.", instructions="Be brief.")
    assert whole.id.startswith("resp_")
    assert whole.status == "completed"
    assert whole.output_text.startswith("Simulated answer:")
    assert whole.usage.output_tokens == 64
    assert whole.usage.total_tokens == whole.usage.input_tokens + 64
    cut = await client.responses.create(model="alias", input=[{"role": "user", "content": "x"}], max_output_tokens=3)
    assert cut.status == "incomplete"
    assert cut.incomplete_details.reason == "max_output_tokens"
    events = [
        event
        async for event in await client.responses.create(
            model="alias", input="Tell me.", instructions="Be brief.", stream=True
        )
    ]
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert kinds[4:-4] == ["response.output_text.delta"] * 64
    assert kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events[4:-4]) == whole.output_text
    assert events[-1].response.usage == whole.usage
    with pytest.raises(openai.NotFoundError, match="Response with id 'resp_x' not found"):
        await client.responses.retrieve("resp_x")


async def test_messages(http: httpx.AsyncClient) -> None:
    body: dict[str, Any] = {
        "model": "alias", "max_tokens": 4, "system": "Be kind.", "messages": [{"role": "user", "content": "Hi"}],
    }  # fmt: skip
    whole = (await http.post("/v1/messages", json=body)).json()
    assert (whole["type"], whole["role"], whole["stop_reason"]) == ("message", "assistant", "max_tokens")
    assert whole["content"][0]["type"] == "text"
    assert whole["content"][0]["text"].startswith("Simulated answer:")
    assert whole["usage"]["output_tokens"] == 4
    counted = await http.post("/v1/messages/count_tokens", json=body)
    assert counted.json()["input_tokens"] == whole["usage"]["input_tokens"]
    streamed = await http.post("/v1/messages", json={**body, "stream": True})
    names, events = [], []
    for event in streamed.text.strip().split("\n\n"):
        name, data = event.split("\n")
        names.append(name.removeprefix("event: "))
        events.append(json.loads(data.removeprefix("data: ")))
    assert names == [
        "message_start", "content_block_start", *["content_block_delta"] * 4, "content_block_stop", "message_delta",
        "message_stop",
    ]  # fmt: skip
    assert [event["type"] for event in events] == names
    assert "".join(event["delta"]["text"] for event in events[2:6]) == whole["content"][0]["text"]
    assert events[0]["message"]["usage"] == {**whole["usage"], "output_tokens": 0}
    assert events[-2]["usage"] == whole["usage"]
    refused = await http.post("/v1/messages", json={**body, "model": "no"})
    assert refused.status_code == 404
    assert refused.json()["type"] == "error"
    assert refused.json()["error"]["type"] == "NotFoundError"


async def test_embeddings(client: openai.AsyncOpenAI) -> None:
    # The SDK asks for base64 unless told otherwise, and decodes it.
    answer = await client.embeddings.create(model="alias", input=["one", "two", "one"])
    assert [item.index for item in answer.data] == [0, 1, 2]
    first, second, third = (item.embedding for item in answer.data)
    assert len(first) == 64
    assert math.isclose(math.hypot(*first), 1.0, rel_tol=1e-5)
    assert first == third != second
    assert answer.usage.prompt_tokens == 3
    floats = await client.embeddings.create(model="alias", input="one", encoding_format="float")
    assert floats.data[0].embedding == pytest.approx(first, abs=1e-6)
    assert len((await client.embeddings.create(model="alias", input="one", dimensions=8)).data[0].embedding) == 8
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        await client.embeddings.create(model="alias", input="one", dimensions=1000)


async def test_rerank_score_classify_and_pooling(http: httpx.AsyncClient) -> None:
    documents = ["nothing alike", "the red lantern", "a lantern at the harbour"]
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        body = {"model": "alias", "query": "harbour lantern", "documents": documents, "top_n": 2}
        answer = (await http.post(path, json=body)).json()
        assert [result["index"] for result in answer["results"]] == [2, 1]
        assert answer["results"][0]["document"]["text"] == documents[2]
        assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 0
    for path in ("/score", "/v1/score"):
        answer = (await http.post(path, json={"text_1": "red lantern", "text_2": documents})).json()
        scores = [item["score"] for item in answer["data"]]
        assert max(scores) == scores[1]
        assert all(0 <= value <= 1 for value in scores)
    classified = (await http.post("/classify", json={"input": ["a", "b"]})).json()["data"]
    assert [item["num_classes"] for item in classified] == [2, 2]
    assert sum(classified[0]["probs"]) == pytest.approx(1)
    pooled = (await http.post("/pooling", json={"input": "a"})).json()
    assert pooled["data"][0]["object"] == "pooling"
    assert len(pooled["data"][0]["data"]) == 64


async def test_tokenize_and_back(http: httpx.AsyncClient) -> None:
    text = "Grüße aus dem Hafen 🎈"
    answer = (await http.post("/tokenize", json={"model": "alias", "prompt": text, "return_token_strs": True})).json()
    assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"]) == math.ceil(len(text.encode()) / 4)
    assert answer["max_model_len"] == CONTEXT
    back = await http.post("/detokenize", json={"tokens": answer["tokens"]})
    assert back.json() == {"prompt": text}
    chat = (await http.post("/tokenize", json={"messages": PROMPT})).json()
    used = (await http.post("/v1/chat/completions", json={"messages": PROMPT})).json()["usage"]
    assert chat["count"] == used["prompt_tokens"]


async def test_errors_have_the_words_and_shape_of_vllm(client: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    with pytest.raises(openai.NotFoundError, match=r"The model `gpt-9` does not exist\.") as unknown:
        await client.chat.completions.create(model="gpt-9", messages=PROMPT)
    assert unknown.value.body == {
        "message": "The model `gpt-9` does not exist. Valid aliases: org/Model-8B, alias.",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }
    with pytest.raises(openai.BadRequestError, match=r"maximum context length is 1000 tokens\. However"):
        await client.chat.completions.create(model="alias", messages=[{"role": "user", "content": "x" * 5000}])
    with pytest.raises(openai.BadRequestError, match="max_tokens must be at least 1, got 0"):
        await client.completions.create(model="alias", prompt="x", max_tokens=0)
    path = "/v1/chat/completions"
    json_type = {"content-type": "application/json"}
    for content, words in (
        (b'{"messages": [', "json_invalid"),
        (b"{}", "'loc': 'body.messages', 'msg': 'Field required'"),
        (b'{"messages": [], "max_tokens": "many"}', "body.max_tokens"),
        (b"\xff\xfe", "json_invalid"),
    ):
        answer = await http.post(path, content=content, headers=json_type)
        assert answer.status_code == 400
        assert words in answer.json()["error"]["message"]
        assert answer.json()["error"]["code"] == 400
    typeless = await http.post(path, content=b"{}")
    assert "Unsupported Media Type" in typeless.json()["error"]["message"]
    assert (await http.get(path)).status_code == 405
    missing = await http.get("/v1/nothing")
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})


async def test_api_key_guards_v1_only() -> None:
    async with (
        spawned("m", "--api-key", "one", "two") as engine,
        httpx.AsyncClient(base_url=engine.url) as http,
    ):
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/metrics")).status_code == 200
        for headers in ({}, {"authorization": "Bearer no"}, {"authorization": "two"}):
            refused = await http.get("/v1/models", headers=headers)
            assert (refused.status_code, refused.json()) == (401, {"error": "Unauthorized"})
        assert (await http.get("/v1/models", headers={"authorization": "Bearer two"})).status_code == 200


async def test_runner_decides_which_apis_there_are() -> None:
    async with spawned("m", "--runner", "pooling") as engine, httpx.AsyncClient(base_url=engine.url) as http:
        assert (await http.post("/v1/embeddings", json={"input": "a"})).status_code == 200
        assert (await http.post("/v1/completions", json={"prompt": "a"})).status_code == 404


async def test_metrics_are_those_of_vllm_and_exact(client: openai.AsyncOpenAI, http: httpx.AsyncClient) -> None:
    fresh = await metrics(http)
    for name in (
        "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
        "vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:time_to_first_token_seconds_count",
        "vllm:e2e_request_latency_seconds_count", "vllm:inter_token_latency_seconds_count",
        "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total",
        "vllm:request_success_total{'finished_reason': 'stop'}",
    ):  # fmt: skip
        assert fresh[name] == 0, name
    assert fresh["modelgrid_simulated_engine"] == 1
    prompt = [{"role": "user", "content": "long " * 200}]
    whole = await client.chat.completions.create(model="alias", messages=prompt)
    streamed = [
        chunk
        async for chunk in await client.chat.completions.create(
            model="alias", messages=prompt, max_tokens=10, stream=True, stream_options={"include_usage": True}
        )
    ]
    await client.embeddings.create(model="alias", input="abcdefgh")
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="none", messages=PROMPT)
    used = whole.usage.prompt_tokens
    seen = await metrics(http)
    assert seen["vllm:prompt_tokens_total"] == 2 * used + 2
    assert seen["vllm:generation_tokens_total"] == 64 + streamed[-1].usage.completion_tokens == 74
    assert seen["vllm:request_success_total{'finished_reason': 'stop'}"] == 2
    assert seen["vllm:request_success_total{'finished_reason': 'length'}"] == 1
    assert seen["vllm:e2e_request_latency_seconds_count"] == 3
    assert seen["vllm:time_to_first_token_seconds_count"] == 2
    assert seen["vllm:inter_token_latency_seconds_count"] == 63 + 9
    assert seen["vllm:prefix_cache_queries_total"] == 2 * used + 2
    # The second request found all whole blocks of 16 tokens but the last.
    assert seen["vllm:prefix_cache_hits_total"] == (used - 1) // 16 * 16
    assert seen["vllm:num_requests_running"] == seen["vllm:num_requests_waiting"] == 0
    assert seen["vllm:kv_cache_usage_perc"] == 0
    handled = "{'handler': '/v1/chat/completions', 'method': 'POST', 'status': '%s'}"
    assert seen["http_requests_total" + handled % "2xx"] == 2
    assert seen["http_requests_total" + handled % "4xx"] == 1
    (info,) = [name for name in seen if name.startswith("vllm:cache_config_info")]
    assert "'block_size': '16'" in info
    assert f"'num_gpu_blocks': '{4 * CONTEXT // 16}'" in info
