"""Streams whose client did not ask for usage: it is asked for, counted, and hidden."""

import json
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import STREAM_HEAD, Peer, Seen, Upstream, gateway

TOKENS = '{"prompt_tokens":11,"total_tokens":16,"completion_tokens":5}'
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


async def engine(seen: Seen, peer: Peer) -> None:
    """Streams as vLLM does: the usage chunk only when it is asked for, in one segment with what is around it."""
    asked = (json.loads(seen.body).get("stream_options") or {}).get("include_usage")
    await peer.send(STREAM_HEAD)
    await peer.event('{"id":"c","choices":[{"index":0,"delta":{"content":"\\"usage\\":{"}}]}')
    last = ['{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}']
    last += [f'{{"id":"c","choices":[],"usage":{TOKENS}}}'] if asked else []
    data = "".join(f"data: {text}\n\n" for text in [*last, "[DONE]"]).encode()
    await peer.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))


async def ask(tmp_path: Path, path: str, body: dict[str, Any]) -> tuple[list[str], dict[str, Any], float, float]:
    """Return the events the client got, the body the replica got, and the tokens that were counted."""
    async with Upstream(engine) as upstream, gateway(tmp_path, upstream.replica("r")) as grid:
        answer = await grid.ask("POST", path, body)
        assert (answer.status, answer.complete) == (200, True)
        figures = await grid.metrics()
        labels = '{model="m",replica="r",key="tests",status="2xx"}'
        counted = [figures[f"modelgrid_{which}_tokens_total{labels}"] for which in ("input", "output")]
        await grid.idle()
        events = answer.body.decode().split("\n\n")
        assert events.pop() == ""
        return events, json.loads(upstream.seen[0].body), counted[0], counted[1]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"continuous_usage_stats": True}])
async def test_usage_is_counted_and_the_client_sees_what_it_asked_for(
    tmp_path: Path, path: str, options: dict[str, bool] | None
) -> None:
    body = {"model": "m", "x-unknown": [1, {"a": "}"}], "stream": True}
    body |= {} if options is None else {"stream_options": options}
    events, sent, into, out = await ask(tmp_path, path, body)
    assert len(events) == 3
    assert events[-1] == "data: [DONE]"
    assert '"choices":[]' not in "".join(events)
    assert sent["stream_options"]["include_usage"] is True
    assert sent["x-unknown"] == body["x-unknown"]
    assert (into, out) == (11, 5)


async def test_a_client_that_asks_gets_its_usage(tmp_path: Path) -> None:
    body = {"model": "m", "stream": True, "stream_options": {"include_usage": True}}
    events, sent, into, out = await ask(tmp_path, CHAT, body)
    assert (sent, len(events), into, out) == (body, 4, 11, 5)
    assert TOKENS in events[2]


async def test_other_apis_and_whole_answers_are_not_asked(tmp_path: Path) -> None:
    for number, (path, body) in enumerate([
        ("/v1/responses", {"model": "m", "stream": True}),
        ("/v1/messages", {"model": "m", "stream": True}),
        (CHAT, {"model": "m"}),
        (CHAT, {"model": "m", "stream": False}),
    ]):  # fmt: skip
        folder = tmp_path / str(number)
        folder.mkdir()
        _, sent, _, _ = await ask(folder, path, body)
        assert sent == body
