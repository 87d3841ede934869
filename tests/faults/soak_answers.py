"""What the simulator must have said to a request of the soak, and whether an answer says so, to the last token."""

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from modelgrid.simulator.chat import Message, render
from modelgrid.simulator.text import answer, count_tokens, seed_of

TOKENS = 30
"""Of an answer that nothing else bounds (`--sim-output-tokens`)."""
LEAST_TOKENS = 8
"""Answers of three tokens or fewer are the same for every prompt."""
_HONEST = {"replica_failed", "model_unreachable", "queue_timeout"}
"""What a request may be told when its replica was killed."""
FAILED = "failed"


@dataclass(frozen=True)
class _Due:
    """What the answer to one request is."""

    prompt_tokens: int
    pieces: list[str]
    finish_reason: str

    @property
    def usage(self) -> tuple[int, int, int]:
        return self.prompt_tokens, len(self.pieces), self.prompt_tokens + len(self.pieces)


def asked_for(number: int, words: int, tokens: int, *, stream: bool, usage: bool) -> dict[str, Any]:
    """Return the body of a request that no other is like."""
    content = f"Request {number}: " + "words " * words
    body = {"model": "m", "messages": [{"role": "user", "content": content}], "max_tokens": tokens, "stream": stream}
    return body | {"stream_options": {"include_usage": True}} if usage else body


def problem(status: int, data: bytes, complete: bool, asked: dict[str, Any]) -> str:
    """Return what is wrong with an answer; `FAILED` for an honest error, empty when it is right."""
    if status in {502, 503}:
        return FAILED if complete and json.loads(data)["error"]["code"] in _HONEST else f"{status} {data[:200]!r}"
    if status != 200:
        return f"{status} {data[:200]!r}"
    prompt = render([Message(**message) for message in asked["messages"]])
    pieces = answer(seed_of(prompt), min(asked["max_tokens"], TOKENS))
    due = _Due(count_tokens(prompt), pieces, "length" if asked["max_tokens"] < TOKENS else "stop")
    if not asked["stream"]:
        return _of_whole(data, complete, due)
    return _of_stream(data, complete, due, usage=bool(asked.get("stream_options")))


def id_of(data: bytes) -> str:
    """Return the id of an answer that is right: the one under which its engine knew the request."""
    first = data.removeprefix(b"data: ").partition(b"\n\n")[0]
    return str(json.loads(first)["id"])


def _of_whole(data: bytes, complete: bool, due: _Due) -> str:
    if not complete:
        return "an answer was cut"
    body = json.loads(data)
    (choice,) = body["choices"]
    said = (choice["message"]["content"], choice["finish_reason"], _usage(body))
    wanted = ("".join(due.pieces), due.finish_reason, due.usage)
    return "" if said == wanted else f"{said} instead of {wanted}"


def _of_stream(data: bytes, complete: bool, due: _Due, *, usage: bool) -> str:  # noqa: PLR0911 (one per rule)
    events = [event[6:] for event in data.decode().split("\n\n") if event.startswith("data: ")]
    if not complete:
        return f"a stream without its end: {events[-1:]}"
    broken = bool(events) and "error" in (last := _json(events[-1]))
    if broken and last["error"]["code"] not in _HONEST:
        return f"stream: {events[-1]}"
    if not broken and (not events or events[-1] != "[DONE]"):
        return f"a stream ended without [DONE] and without an error: {events[-1:]}"
    chunks = [json.loads(event) for event in events[:-1]]
    deltas = [choice for chunk in chunks for choice in chunk["choices"]]
    said = [choice["delta"]["content"] for choice in deltas]
    wanted = ["", *due.pieces]  # the first one says who speaks
    if broken:
        return FAILED if said == wanted[: len(said)] else f"{said} before it broke, of {wanted}"
    if said != wanted:
        return f"{said} instead of {wanted}"
    if len({chunk["id"] for chunk in chunks}) != 1:
        return "chunks of two answers in one stream"
    finished = [choice["finish_reason"] for choice in deltas]
    if finished != [None] * len(due.pieces) + [due.finish_reason]:
        return f"finish reasons {finished} instead of one {due.finish_reason} at the end"
    told = [_usage(chunk) for chunk in chunks if chunk.get("usage")]
    return "" if told == [due.usage] * usage else f"usage {told} instead of {[due.usage] * usage}"


def _usage(body: dict[str, Any]) -> tuple[int, int, int]:
    usage = body["usage"]
    return usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]


def _json(text: str) -> dict[str, Any]:
    with suppress(json.JSONDecodeError):
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    return {}
