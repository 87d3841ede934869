"""Health, keys, models, headers and the plain way of a request through a real gateway process."""

import asyncio
import json
import time
from pathlib import Path

import openai
import pytest
from gateway_kit import (
    COMPLETION,
    KEY,
    STREAM_HEAD,
    Gateway,
    Peer,
    Seen,
    Upstream,
    answers,
    gateway,
    grant,
    json_answer,
    model,
    request,
    secret,
)
from prometheus_client.parser import text_string_to_metric_families

from modelgrid.domain.routing import GatewaySettings, ModelState, ReplicaState


async def test_health_says_why_it_is_not_ready_and_needs_no_key(tmp_path: Path) -> None:
    grid = Gateway(tmp_path)
    try:
        await grid.start()
        answer = await grid.ask("GET", "/health", key=None)
        assert answer.status == 503
        assert "routing table" in answer.json()["reason"]
        assert (await grid.chat()).status == 503
        await grid.start_control()
        await grid.serve()
        answer = await grid.ask("GET", "/health", key=None)
        assert (answer.status, answer.json()) == (200, {"status": "ok", "verdict": "unknown"})
        assert (await grid.ask("HEAD", "/health", key=None)).status == 200
        assert await grid.stop() == 0
    finally:
        await grid.stop_control()
        grid.listening.close()


async def test_resident_memory_at_start(tmp_path: Path) -> None:
    async with gateway(tmp_path) as grid:
        resident = grid.rss() / 1024**2
        print(f"gateway at start: {resident:.1f} MB resident")
        assert resident <= 40


async def test_request_and_answer_pass_unchanged(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        body = b'{"model": "m",  "unknown": {"kept": [1, 2.50]}, "messages": []}'
        answer = await grid.ask("POST", "/v1/chat/completions?a=b", body)
        assert answer.status == 200
        assert answer.json() == COMPLETION
        (seen,) = upstream.seen
        assert seen.body == body
        assert (seen.method, seen.target) == ("POST", "/v1/chat/completions?a=b")


async def test_connections_to_the_replica_are_kept(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        for _ in range(5):
            assert (await grid.chat()).status == 200
        assert upstream.connections == 1


async def test_headers_towards_the_replica(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        answer = await grid.chat(
            headers=[
                ("Cookie", "a=b"),
                ("Connection", "keep-alive, X-Hop"),
                ("X-Hop", "1"),
                ("Keep-Alive", "timeout=5"),
                ("TE", "trailers"),
                ("X-Forwarded-For", "127.0.0.1"),
                ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
                ("X-Request-Id", "client-77"),
                ("X-Custom", "kept"),
            ]
        )
        (seen,) = upstream.seen
        dropped = ("Authorization", "Cookie", "X-Hop", "Keep-Alive", "TE", "Connection", "X-Forwarded-For")
        assert [name for name in dropped if seen.header(name) is not None] == []
        print(f"S21: {len(dropped)} headers dropped before the replica, X-Request-Id made anew")
        assert seen.header("traceparent") == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        assert seen.header("x-custom") == "kept"
        assert seen.header("host") == f"127.0.0.1:{upstream.port}"
        assert seen.header("content-type") == "application/json"
        assert answer.header("x-request-id") == "client-77"
        assert (seen.header("x-request-id") or "").startswith("mg-")  # engines use it as a key: never the client's
        assert answer.header("server") is None


async def test_a_malformed_request_id_is_replaced(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        first = await grid.chat(headers=[("X-Request-Id", "no spaces please")])
        second = await grid.chat()
        made = {first.header("x-request-id"), second.header("x-request-id")}
        assert len(made) == 2
        assert all((text or "").startswith("mg-") for text in made)


async def test_wrong_keys_learn_nothing(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        grid.keys = (grant(), grant(secret("expired"), id="old", expires_at=time.time() - 1))
        await grid.serve(upstream.replica())
        texts = set()
        for key in (None, "", "mg-wrong", secret("unknown"), KEY[:-1] + "!", secret("expired"), "x" * 5000):
            for name in ("m", "no-such-model"):
                answer = await grid.chat(name, key=key)
                assert answer.status == 401
                assert answer.header("www-authenticate") == 'Bearer realm="modelgrid"'
                error = answer.json()["error"]
                assert error.pop("request_id") == answer.header("x-request-id")
                texts.add(json.dumps(error))
        assert len(texts) == 1
        for path in ("/v1/models", "/v1/models/m", "/metrics", "/v1/nothing", "/", "/.git/config"):
            assert (await grid.ask("GET", path, key=None)).status == 401
        assert (await grid.chat(headers=[("X-Forwarded-For", "127.0.0.1")], key=None)).status == 401
        assert upstream.seen == []


async def test_other_forms_of_the_key(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        assert (await grid.chat(key=None, headers=[("x-api-key", KEY)])).status == 200
        assert (await grid.chat(key=None, headers=[("authorization", f"bearer {KEY}")])).status == 200
        assert (await grid.chat(headers=[("x-api-key", KEY)])).status == 200
        assert (await grid.chat(headers=[("x-api-key", secret("other"))])).status == 401
        assert (await grid.chat(key=None, headers=[("authorization", f"Basic {KEY}")])).status == 401


async def test_a_key_is_revoked_with_the_next_table(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        grid.keys = (grant(), grant(secret("second"), id="second"))
        await grid.serve(upstream.replica())
        async with grid.client() as client:
            ask = ("POST", "/v1/chat/completions", {"model": "m"})
            assert (await client.ask(*ask, key=secret("second"))).status == 200
            grid.keys = (grant(),)
            await grid.serve(upstream.replica())
            assert (await client.ask(*ask, key=secret("second"))).status == 401


async def test_models_are_those_the_key_may_use(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path) as grid:
        grid.keys = (grant(), grant(secret("bound"), id="bound", label="bound", models=("org/a",)))
        replica = upstream.replica()
        await grid.publish(
            model("org/a", (replica,), names=("org/a", "a", "gpt-a"), context=4096),
            model("org/b", (replica,), names=("org/b", "b")),
            model("org/c", state=ModelState.STOPPED),
        )
        listed = (await grid.ask("GET", "/v1/models")).json()
        assert [entry["id"] for entry in listed["data"]] == ["org/a", "a", "gpt-a", "org/b", "b"]
        assert listed["object"] == "list"
        assert listed["data"][1] == {
            "id": "a", "object": "model", "created": 1_700_000_000, "owned_by": "modelgrid", "root": "org/a",
            "parent": None, "max_model_len": 4096,
        }  # fmt: skip
        bound = (await grid.ask("GET", "/v1/models", key=secret("bound"))).json()
        assert [entry["id"] for entry in bound["data"]] == ["org/a", "a", "gpt-a"]
        assert (await grid.ask("GET", "/v1/models/org/a")).json()["id"] == "org/a"
        assert (await grid.ask("GET", "/v1/models/org%2Fb")).json()["id"] == "org/b"
        assert (await grid.chat("gpt-a", key=secret("bound"))).status == 200
        # what it may not use looks like what does not exist
        hidden = await grid.ask("GET", "/v1/models/b", key=secret("bound"))
        refused = await grid.chat("b", key=secret("bound"))
        unknown = await grid.chat("nothing", key=secret("bound"))
        assert {hidden.status, refused.status, unknown.status} == {404}
        assert refused.json()["error"]["message"].replace("'b'", "''") == (
            unknown.json()["error"]["message"].replace("'nothing'", "''")
        )
        assert (await grid.ask("GET", "/metrics", key=secret("bound"))).status == 403


async def test_models_that_are_unknown_or_not_running(tmp_path: Path) -> None:
    async with gateway(tmp_path) as grid:
        await grid.publish(model("off", state=ModelState.STOPPED, retry_after_seconds=42))
        unknown = await grid.chat("nothing")
        assert (unknown.status, unknown.code) == (404, "model_not_found")
        stopped = await grid.chat("off")
        assert (stopped.status, stopped.code, stopped.header("retry-after")) == (503, "model_not_running", "42")
        before = len(grid.reports)
        while not any("off" in report.wanted_models for report in grid.reports[before:]):
            await asyncio.wait_for(asyncio.sleep(0.01), 10)


@pytest.mark.parametrize(
    ("path", "at_engine"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/completions", "/v1/completions"),
        ("/v1/embeddings", "/v1/embeddings"),
        ("/v1/responses", "/v1/responses"),
        ("/v1/messages", "/v1/messages"),
        ("/v1/messages/count_tokens", "/v1/messages/count_tokens"),
        ("/v1/rerank", "/v1/rerank"),
        ("/v1/score", "/v1/score"),
        ("/v1/classify", "/classify"),
        ("/v1/pooling", "/pooling"),
        ("/v1/tokenize", "/tokenize"),
        ("/tokenize", "/tokenize"),
        ("/v1/detokenize", "/detokenize"),
        ("/v1/something/newer", "/v1/something/newer"),
    ],
)
async def test_every_path_of_the_engine(tmp_path: Path, path: str, at_engine: str) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        assert (await grid.ask("POST", path, {"model": "m"})).status == 200
        assert [seen.target for seen in upstream.seen] == [at_engine]


async def test_paths_that_are_nobodys(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        for path in (
            "/", "/v1", "/v1/", "/v1/../metrics", "/v1/%2e%2e/x", "/v1//x", "/sleep", "/v1/load_lora_adapter",
            "/v1/unload_lora_adapter", "/v1/_cluster/join", "/admin", "http://other/v1/chat/completions",
        ):  # fmt: skip
            assert (await grid.ask("POST", path, {"model": "m"})).status == 404, path
        wrong = await grid.ask("GET", "/v1/chat/completions")
        assert (wrong.status, wrong.header("allow")) == (405, "POST")
        wrong = await grid.ask("DELETE", "/v1/models/m")
        assert (wrong.status, wrong.header("allow")) == (405, "GET, HEAD")
        assert upstream.seen == []


async def test_the_model_of_an_audio_form(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        form = (
            b'--xx\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
            b"Content-Type: audio/wav\r\n\r\n" + bytes(range(256)) * 400 + b"\r\n"
            b'--xx\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--xx--\r\n'
        )
        kind = ("Content-Type", "multipart/form-data; boundary=xx")
        assert (await grid.ask("POST", "/v1/audio/transcriptions", form, headers=[kind])).status == 200
        assert upstream.seen[0].body == form
        assert upstream.seen[0].header("content-type") == kind[1]
        without = form.replace(b'name="model"', b'name="other"')
        refused = await grid.ask("POST", "/v1/audio/transcriptions", without, headers=[kind])
        assert refused.status == 400
        assert "no field 'model'" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"model": 3}', b'{"messages": []}', b'{"model": ""}', b"\xff\xfe", b"[" * 100_000]
)
async def test_bodies_without_a_model(tmp_path: Path, body: bytes) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid, grid.client() as client:
        answer = await client.ask("POST", "/v1/chat/completions", body)
        assert (answer.status, answer.code) == (400, "invalid_body")
        assert (await client.ask("POST", "/v1/chat/completions", {"model": "m"})).status == 200
        anthropic = await client.ask("POST", "/v1/messages", body)
        assert anthropic.json()["error"]["type"] == "invalid_request_error"
        assert anthropic.json()["type"] == "error"


async def test_answers_of_the_replica_pass_whatever_their_status(tmp_path: Path) -> None:
    async def refuses(seen: Seen, peer: Peer) -> None:
        if seen.target == "/v1/completions":
            await peer.send(json_answer({"object": "error"}, "400 Bad Request"))
        elif seen.target == "/v1/embeddings":
            await peer.send(json_answer({"object": "error"}, "429 Too Many Requests", "retry-after: 7\r\n"))
        else:
            await peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with Upstream(refuses) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        assert (await grid.ask("POST", "/v1/completions", {"model": "m"})).json() == {"object": "error"}
        limited = await grid.ask("POST", "/v1/embeddings", {"model": "m"})
        assert (limited.status, limited.header("retry-after")) == (429, "7")
        assert (await grid.chat()).status == 204
        assert upstream.connections == 1
        assert (await grid.metrics())["modelgrid_requests_in_flight"] == 0


async def test_load_is_spread_and_draining_replicas_get_nothing(tmp_path: Path) -> None:
    async with (
        Upstream(answers) as one,
        Upstream(answers) as two,
        Upstream(answers) as draining,
        gateway(tmp_path, one.replica(), two.replica(), draining.replica(state=ReplicaState.DRAINING)) as grid,
    ):
        for _ in range(20):
            assert (await grid.chat()).status == 200
        assert (len(one.seen), len(two.seen), len(draining.seen)) == (10, 10, 0)


async def test_the_less_busy_replica_is_chosen(tmp_path: Path) -> None:
    hold = asyncio.Event()

    async def holds(_: Seen, peer: Peer) -> None:
        await hold.wait()
        await peer.send(json_answer(COMPLETION))

    async with Upstream(holds) as busy, Upstream(answers) as free, gateway(tmp_path, busy.replica()) as grid:
        waiting = [asyncio.create_task(grid.chat()) for _ in range(3)]
        await grid.wait_for_metric("modelgrid_requests_in_flight", 3)
        await grid.serve(busy.replica(), free.replica())
        for _ in range(6):
            assert (await grid.chat()).status == 200
        assert len(free.seen) == 6
        hold.set()
        assert [answer.status for answer in await asyncio.gather(*waiting)] == [200, 200, 200]
        await grid.idle()


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async def echoes(seen: Seen, peer: Peer) -> None:
        await peer.send(json_answer(json.loads(seen.body)))

    async with Upstream(echoes) as upstream, gateway(tmp_path, upstream.replica()) as grid, grid.client() as client:
        sent = [request("POST", "/v1/chat/completions", {"model": "m", "n": n}) for n in range(200)]
        sent[50] = request("POST", "/v1/chat/completions", {"model": "nothing"})
        sent[60] = request("GET", "/v1/models")
        await client.send(b"".join(sent))
        got = [await client.response() for _ in range(200)]
        assert [answer.status for answer in got] == [404 if n == 50 else 200 for n in range(200)]
        order = [answer.json().get("n") for answer in got]
        assert order == [None if n in {50, 60} else n for n in range(200)]


async def test_many_pipelined_refusals_do_not_recurse(tmp_path: Path) -> None:
    async with gateway(tmp_path) as grid, grid.client() as client:
        await grid.publish(model("off", state=ModelState.STOPPED))
        one = request("POST", "/v1/chat/completions", {"model": "off"})
        await client.send(one * 1500)
        assert {(await client.response()).status for _ in range(1500)} == {503}


async def test_cross_origin_rules(tmp_path: Path) -> None:
    async def allows_all(_: Seen, peer: Peer) -> None:
        await peer.send(json_answer(COMPLETION, extra="access-control-allow-origin: *\r\n"))

    origin = ("Origin", "https://app.example")
    async with Upstream(allows_all) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        closed = await grid.chat(headers=[origin])
        assert closed.header("access-control-allow-origin") is None
        await grid.change(cors_origins=("https://app.example",))
        answer = await grid.chat(headers=[origin])
        assert answer.header("access-control-allow-origin") == "https://app.example"
        assert answer.header("vary") == "Origin"
        foreign = await grid.chat(headers=[("Origin", "https://evil.example")])
        assert foreign.header("access-control-allow-origin") is None
        ask = [origin, ("Access-Control-Request-Method", "POST")]
        preflight = await grid.ask("OPTIONS", "/v1/chat/completions", key=None, headers=ask)
        assert preflight.status == 204
        assert "POST" in (preflight.header("access-control-allow-methods") or "")
        assert "Authorization" in (preflight.header("access-control-allow-headers") or "")
        await grid.change(cors_origins=("*",))
        assert (await grid.chat(headers=[origin])).header("access-control-allow-origin") == "*"


async def test_metrics_are_prometheus_text_and_carry_controls(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica("r-1")) as grid:
        for _ in range(3):
            await grid.chat()
        await grid.chat("nothing")
        page = (await grid.ask("GET", "/metrics")).body.decode()
        families = {family.name: family for family in text_string_to_metric_families(page)}
        counts = {
            (
                sample.labels["model"],
                sample.labels["replica"],
                sample.labels["key"],
                sample.labels["status"],
            ): sample.value
            for sample in families["modelgrid_requests"].samples
        }
        assert counts == {("m", "r-1", "tests", "2xx"): 3, ("", "", "tests", "4xx"): 1}
        tokens = {name: sum(s.value for s in families[name].samples) for name in families if name.endswith("_tokens")}
        assert tokens == {"modelgrid_input_tokens": 21, "modelgrid_output_tokens": 9}
        durations = [s for s in families["modelgrid_request_duration_seconds"].samples if s.labels.get("le") == "+Inf"]
        assert sum(sample.value for sample in durations) == 4


async def test_the_report_counts_the_same(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica("r-1")) as grid:
        for _ in range(4):
            await grid.chat()
        while not any(sum(s.requests for s in report.series) == 4 for report in grid.reports):
            await asyncio.wait_for(asyncio.sleep(0.01), 10)
        report = grid.reports[-1]
        assert (report.gateway, report.pid, report.generation) == ("0", grid.pid, grid.generation)
        (series,) = report.series
        assert (series.model, series.replica, series.key, series.status) == ("m", "r-1", "tests", "2xx")
        assert (series.input_tokens, series.output_tokens) == (28, 12)
        assert sum(series.duration_buckets) == sum(series.first_byte_buckets) == 4
        assert list(report.key_last_used) == ["key-1"]
        (outcome,) = report.outcomes
        assert (outcome.replica, outcome.in_flight, outcome.ejected) == ("r-1", 0, False)
        assert outcome.last_success_at is not None


async def test_the_openai_client(tmp_path: Path) -> None:
    async def speaks(seen: Seen, peer: Peer) -> None:
        if not json.loads(seen.body).get("stream"):
            await peer.send(json_answer(COMPLETION))
            return
        await peer.send(STREAM_HEAD)
        for piece in ("hel", "lo"):
            delta = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                     "choices": [{"index": 0, "delta": {"content": piece}}]}  # fmt: skip
            await peer.event(json.dumps(delta))
        await peer.event("[DONE]")
        await peer.send(b"0\r\n\r\n")

    async with Upstream(speaks) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        url = f"http://127.0.0.1:{grid.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
            whole = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
            assert whole.choices[0].message.content == "hello"
            stream = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "hello"
            assert [entry.id async for entry in client.models.list()] == ["m"]
            with pytest.raises(openai.NotFoundError) as missing:
                await client.chat.completions.create(model="none", messages=[])
            assert missing.value.code == "model_not_found"
        async with openai.AsyncOpenAI(base_url=url, api_key="mg-wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        await grid.idle()


def test_settings_have_the_defaults_the_documentation_names() -> None:
    settings = GatewaySettings()
    text = Path(__file__).parents[2].joinpath("docs/architecture/gateway.md").read_text()
    for name in ("max_body_bytes", "max_header_bytes", "queue_limit", "queue_seconds", "drain_seconds"):
        assert f"`{name}`" in text, name
    assert settings.queue_limit == 256
