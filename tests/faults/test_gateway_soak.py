"""Mixed load with kills among it; see `gateway_soak.py`. Three minutes of a light load in the suite, which has other
work for the processor; `make soak` runs half an hour of a heavy one."""

import os
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from gateway_soak import WRONG_SHOWN, soak
from soak_answers import FAILED, TOKENS, asked_for, id_of, problem

from modelgrid.simulator.spawn import spawned

SECONDS = float(os.environ.get("SOAK_SECONDS") or 180)
CLIENTS, PAUSE = (24, 0.0) if "SOAK_SECONDS" in os.environ else (6, 0.2)
RSS_GROWTH_BYTES = 3_000_000
"""Between the second third and the last: noise of the allocator, not a leak of requests."""


@pytest.mark.timeout(SECONDS * 2 + 120)
async def test_mixed_load_with_kills(tmp_path: Path) -> None:
    found = await soak(tmp_path, SECONDS, clients=CLIENTS, pause=PAUSE)
    print(f"soak: {found}")
    assert found.wrong == [], "\n".join(found.wrong[:WRONG_SHOWN])
    assert found.counts["kills"] >= int(SECONDS // 30)  # one every 20 s, and a moment until the next engine is up
    assert found.counts["whole"] > CLIENTS * SECONDS / 3
    assert found.counts["streamed"] > CLIENTS * SECONDS / 5
    assert found.counts["cancelled"] > CLIENTS * SECONDS / 24
    answered = set(found.answered)
    assert [name for name, times in found.received.items() if times > 1] == [], "received twice"
    assert answered <= set(found.received)
    assert len(answered) == len(found.answered) == found.counts["whole"] + found.counts["streamed"]
    assert len(found.received) - len(answered) <= found.counts["cancelled"] + found.counts["failed"]
    assert found.descriptors[1] - found.descriptors[0] <= 2
    assert found.tasks[1] == found.tasks[0]
    assert found.threads[1] - found.threads[0] <= 2
    third = len(found.rss) // 3
    assert max(found.rss[2 * third :]) - max(found.rss[third : 2 * third]) <= RSS_GROWTH_BYTES


WHOLE = asked_for(1, 20, 12, stream=False, usage=False)
STREAM = asked_for(2, 20, 12, stream=True, usage=True)
Change = Callable[[bytes, bytes], bytes]
"""Of the answer to a request and that to another one makes what a broken gateway would say."""


def _without(data: bytes, *numbers: int) -> bytes:
    return b"\n\n".join(event for number, event in enumerate(data.split(b"\n\n")) if number not in numbers)


def _with(data: bytes, other: bytes) -> bytes:
    """Put an event of another answer in."""
    events = data.split(b"\n\n")
    return b"\n\n".join([*events[:5], other.split(b"\n\n")[5], *events[5:]])


CHANGES: dict[str, Change] = {
    "another's answer": lambda _, other: other,
    "no text": lambda right, _: right.replace(b"Simulated", b""),
    "other tokens in": lambda right, _: right.replace(b'"prompt_tokens":', b'"prompt_tokens":1'),
    "other tokens out": lambda right, _: right.replace(b'"completion_tokens":', b'"completion_tokens":1'),
}
STREAM_CHANGES: dict[str, Change] = CHANGES | {
    "all text lost": lambda right, _: _without(right, *range(1, 12)),
    "one event lost": lambda right, _: _without(right, 5),
    "one event twice": lambda right, _: _with(right, right),
    "an event of another": _with,
    "no usage": lambda right, _: _without(right, 13),
    "no end": lambda right, _: right.removesuffix(b"data: [DONE]\n\n"),
}


async def test_the_soak_finds_answers_that_are_not_right() -> None:
    other_whole, other_stream = (asked | {"messages": [{"role": "user", "content": "?"}]} for asked in (WHOLE, STREAM))
    async with spawned("m", "--sim-output-tokens", str(TOKENS)) as engine, httpx.AsyncClient() as http:

        async def said(body: dict[str, object]) -> bytes:
            return (await http.post(f"{engine.url}/v1/chat/completions", json=body)).content

        cases = [(WHOLE, other_whole, CHANGES), (STREAM, other_stream, STREAM_CHANGES)]
        for asked, another, changes in cases:
            right, other = await said(asked), await said(another)
            assert problem(200, right, True, asked) == ""
            assert id_of(right).startswith("chatcmpl-")
            assert problem(200, right, False, asked)
            for what, change in changes.items():
                found = problem(200, change(right, other), True, asked)
                assert found not in {"", FAILED}, what
