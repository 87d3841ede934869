"""The paths of the data plane: what each is called at the engine and whose conventions it follows.

Paths as vLLM 0.32 serves them. What vLLM serves only at its root is taken under `/v1` too, so that one base URL does.
Any other path below `/v1` is passed as it is: a newer engine's API works without a newer gateway.
"""

import re
from dataclasses import dataclass

from modelgrid.gateway.errors import ApiForm


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path that replicas answer."""

    path: bytes
    """At the engine."""
    form: ApiForm = ApiForm.OPENAI
    usage_on_request: bool = False
    """Its streams tell their usage only to those who set `stream_options.include_usage`."""


_ROOT_ONLY = (b"/tokenize", b"/detokenize", b"/pooling", b"/classify")
_OUTSIDE_V1 = (b"/rerank", b"/score", b"/v2/rerank", b"/v2/embed")
_KNOWN: dict[bytes, Endpoint] = {
    path: Endpoint(path)
    for path in (
        b"/v1/embeddings",
        b"/v1/rerank",
        b"/v1/score",
        b"/v1/audio/transcriptions",
        b"/v1/audio/translations",
        *_ROOT_ONLY,
        *_OUTSIDE_V1,
    )
}
_KNOWN |= {path: Endpoint(path, usage_on_request=True) for path in (b"/v1/chat/completions", b"/v1/completions")}
_KNOWN |= {b"/v1" + path: Endpoint(path) for path in _ROOT_ONLY}
_KNOWN |= {
    b"/v1/responses": Endpoint(b"/v1/responses", ApiForm.RESPONSES),
    b"/v1/messages": Endpoint(b"/v1/messages", ApiForm.ANTHROPIC),
    b"/v1/messages/count_tokens": Endpoint(b"/v1/messages/count_tokens", ApiForm.ANTHROPIC),
}

_DENIED = frozenset((b"/v1/load_lora_adapter", b"/v1/unload_lora_adapter"))
"""They change the engine and read paths of its file system: the operator's, never a client's."""

_PLAIN = re.compile(rb"/v1(?:/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)+")
"""No empty, dot or encoded segments: the path means the same to every server that reads it."""


def resolve(path: bytes) -> Endpoint | None:
    """Return the endpoint of `path` (without a query), or None when replicas are not to be asked for it."""
    known = _KNOWN.get(path)
    if known is not None:
        return known
    if (
        path in _DENIED
        or path == b"/v1/models"
        or path.startswith((b"/v1/models/", b"/v1/_"))
        or _PLAIN.fullmatch(path) is None
    ):
        return None
    return Endpoint(path)
