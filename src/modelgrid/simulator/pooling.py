"""Embeddings, rerank, score, classify and pooling: made-up vectors, and scores by shared words."""

import math
import re
from base64 import b64encode
from collections.abc import Callable
from struct import pack
from typing import TYPE_CHECKING, Any

import msgspec

from modelgrid.simulator.answers import Answer
from modelgrid.simulator.chat import Message, render
from modelgrid.simulator.completions import Prompt, prompts_of
from modelgrid.simulator.engine import Generation, Sequence
from modelgrid.simulator.errors import ApiError, decode
from modelgrid.simulator.sampling import check_length
from modelgrid.simulator.text import seed_of

if TYPE_CHECKING:
    from modelgrid.simulator.http import Connection, Request
    from modelgrid.simulator.server import Server

Json = dict[str, Any]
Texts = str | list[str]
_WORD = re.compile(r"\w+")


class InputRequest(msgspec.Struct, frozen=True):
    """Embeddings, classify and pooling: `input`, or `messages` as in a chat."""

    model: str | None = None
    input: Prompt | None = None
    messages: list[Message] | None = None
    dimensions: int | None = None
    encoding_format: str | None = None


class RerankRequest(msgspec.Struct, frozen=True):
    query: str
    documents: Texts
    model: str | None = None
    top_n: int = 0


class ScoreRequest(msgspec.Struct, frozen=True):
    """vLLM's three spellings of the two sides."""

    model: str | None = None
    text_1: Texts | None = None
    text_2: Texts | None = None
    queries: Texts | None = None
    documents: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None


_input_decoder = msgspec.json.Decoder(InputRequest)
_rerank_decoder = msgspec.json.Decoder(RerankRequest)
_score_decoder = msgspec.json.Decoder(ScoreRequest)


def vector(data: bytes, dimensions: int) -> list[float]:
    """Return a made-up vector of length 1, the same for the same bytes."""
    state = seed_of(data) or 1
    values: list[float] = []
    for _ in range(dimensions):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(state / 2**31 - 1.0)
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return [value / length for value in values]


def similarity(left: str, right: str) -> float:
    """Return the share of words that two texts have in common, 0 to 1, so that a ranking makes sense."""
    ours, theirs = set(_WORD.findall(left.lower())), set(_WORD.findall(right.lower()))
    return len(ours & theirs) / len(ours | theirs) if ours | theirs else 0.0


class _Pooled(Answer):
    """An answer without generated tokens, whose body is made when the engine is done with the prompts."""

    def __init__(
        self, server: "Server", connection: "Connection", request: "Request", prefix: str, body: Callable[[str], Json]
    ) -> None:
        self.prefix = prefix
        super().__init__(server, connection, request)
        self._body = body

    def finished(self, generation: Generation) -> None:
        self.connection.respond(200, msgspec.json.encode({"id": self.id, **self._body(self.id)}))


def _pool(
    server: "Server",
    connection: "Connection",
    request: "Request",
    prompts: tuple[bytes, ...],
    prefix: str,
    body: Callable[[Answer, int], Json],
) -> None:
    tokens = sum(check_length(server.settings, prompt) for prompt in prompts)
    sink = _Pooled(server, connection, request, prefix, lambda _: body(sink, tokens))
    sequences = [Sequence([]) for _ in prompts]
    server.generate(connection, Generation(prompts=prompts, sequences=sequences, sink=sink, stream=False))


def _usage(tokens: int) -> Json:
    return {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }


def _inputs(server: "Server", request: "Request") -> tuple[InputRequest, tuple[bytes, ...]]:
    asked = decode(_input_decoder, request.body)
    server.check_model(asked.model)
    if asked.messages is not None:
        return asked, (render(asked.messages),)
    if asked.input is None:
        raise ApiError("Either input or messages must be provided.", kind="Bad Request", param="body.input")
    return asked, prompts_of(asked.input)


def _vectors(server: "Server", request: "Request", connection: "Connection", *, kind: str, prefix: str) -> None:
    asked, prompts = _inputs(server, request)
    if asked.encoding_format not in {None, "float", "base64"}:
        raise ApiError(f"encoding_format {asked.encoding_format!r} is not simulated.", param="encoding_format")
    dimensions = server.settings.embedding_dimensions if asked.dimensions is None else asked.dimensions
    if not 1 <= dimensions <= server.settings.embedding_dimensions:
        raise ApiError(
            f"dimensions must be from 1 to {server.settings.embedding_dimensions}, got {dimensions}.",
            param="dimensions",
        )

    def encoded(prompt: bytes) -> list[float] | str:
        values = vector(prompt, dimensions)
        if asked.encoding_format == "base64":
            return b64encode(pack(f"<{dimensions}f", *values)).decode()
        return values

    field = "embedding" if kind == "embedding" else "data"
    _pool(
        server,
        connection,
        request,
        prompts,
        prefix,
        lambda answer, tokens: {
            "object": "list",
            "created": answer.created,
            "model": server.settings.served_names[0],
            "data": [{"index": index, "object": kind, field: encoded(prompt)} for index, prompt in enumerate(prompts)],
            "usage": _usage(tokens),
        },
    )


def embeddings(server: "Server", request: "Request", connection: "Connection") -> None:
    _vectors(server, request, connection, kind="embedding", prefix="embd-")


def pooling(server: "Server", request: "Request", connection: "Connection") -> None:
    _vectors(server, request, connection, kind="pooling", prefix="pool-")


def classify(server: "Server", request: "Request", connection: "Connection") -> None:
    _, prompts = _inputs(server, request)

    def classification(index: int, prompt: bytes) -> Json:
        share = (seed_of(prompt) % 1000) / 1000
        label = "LABEL_1" if share > 0.5 else "LABEL_0"
        return {"index": index, "label": label, "probs": [1 - share, share], "num_classes": 2}

    _pool(
        server,
        connection,
        request,
        prompts,
        "classify-",
        lambda answer, tokens: {
            "object": "list",
            "created": answer.created,
            "model": server.settings.served_names[0],
            "data": [classification(index, prompt) for index, prompt in enumerate(prompts)],
            "usage": _usage(tokens),
        },
    )


def rerank(server: "Server", request: "Request", connection: "Connection") -> None:
    asked = decode(_rerank_decoder, request.body)
    server.check_model(asked.model)
    documents = [asked.documents] if isinstance(asked.documents, str) else asked.documents
    if asked.top_n < 0 or not documents:
        raise ApiError("documents must not be empty and top_n must be at least 0.", param="documents")
    scored = sorted(
        ((similarity(asked.query, document), index) for index, document in enumerate(documents)),
        key=lambda result: (-result[0], result[1]),
    )
    results = [
        {
            "index": index,
            "document": {"text": documents[index], "multi_modal": None},
            "relevance_score": score,
        }
        for score, index in scored[: asked.top_n or len(documents)]
    ]
    _pool(
        server,
        connection,
        request,
        tuple(f"{asked.query}{document}".encode() for document in documents),
        "rerank-",
        lambda _, tokens: {
            "model": server.settings.served_names[0],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "results": results,
        },
    )


def score(server: "Server", request: "Request", connection: "Connection") -> None:
    asked = decode(_score_decoder, request.body)
    server.check_model(asked.model)
    left, right = (
        [side] if isinstance(side, str) else side or []
        for side in (
            asked.queries or asked.text_1 or asked.data_1,
            asked.documents or asked.text_2 or asked.data_2,
        )
    )
    if not left or not right or len(left) not in {1, len(right)}:
        raise ApiError("Input lengths must be either 1:1, 1:N or N:N", param="documents")
    pairs = list(zip(left * len(right) if len(left) == 1 else left, right, strict=True))
    _pool(
        server,
        connection,
        request,
        tuple(f"{one}{other}".encode() for one, other in pairs),
        "embd-",
        lambda answer, tokens: {
            "object": "list",
            "created": answer.created,
            "model": server.settings.served_names[0],
            "data": [
                {"index": index, "object": "score", "score": similarity(one, other)}
                for index, (one, other) in enumerate(pairs)
            ],
            "usage": _usage(tokens),
        },
    )
