"""What an answer says of the tokens that it took."""

import re
from typing import Final

from modelgrid.gateway.shapes import UNREADABLE, Usage, decode_chunk, decode_usage

USAGE_TAIL_BYTES: Final = 4096
"""How much of the end of an answer is kept to find `usage` in; the object itself is below 1 KB."""
NO_TOKENS: Final = (0, 0)

_KEY: Final = b'"usage"'
_OBJECT: Final = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')


def usage_of(tail: bytes) -> tuple[int, int]:
    """Return (input, output) tokens of the last `usage` object in the end of an answer; (0, 0) when it has none.

    A quote inside a JSON string is escaped, so text that a model generated can never pass for the key.
    """
    at = tail.rfind(_KEY)
    while at >= 0:
        usage = _usage_at(tail, at)
        if usage is not None:
            into = usage.prompt_tokens if usage.prompt_tokens is not None else usage.input_tokens
            if into is not None or usage.total_tokens is not None:
                out = usage.completion_tokens if usage.completion_tokens is not None else usage.output_tokens
                return max(into or 0, 0), max(out or 0, 0)
        at = tail.rfind(_KEY, 0, at)
    return NO_TOKENS


def _usage_at(tail: bytes, at: int) -> Usage | None:
    start = tail.find(b"{", at)
    stop = tail.find(b"}", start) + 1 if start >= 0 else 0
    if not stop:
        return None
    try:
        return decode_usage(tail[start:stop])  # nearly always flat
    except UNREADABLE:
        found = _OBJECT.match(tail, at)
    if found is None:
        return None
    try:
        return decode_usage(found[1])
    except UNREADABLE:
        return None


def is_usage_event(event: bytes) -> bool:
    """Whether a server-sent event is the one chunk that tells the usage of a stream and nothing else."""
    if _KEY not in event or not event.startswith(b"data:"):
        return False
    try:
        chunk = decode_chunk(event[5:])
    except UNREADABLE:
        return False
    return chunk.choices == [] and bytes(chunk.usage) not in {b"", b"null"}
