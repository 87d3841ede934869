"""Errors as clients of each API expect them: OpenAI's shape, Anthropic's, and the events that end a broken stream."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

import msgspec

from modelgrid.gateway.shapes import UNREADABLE

_encode = msgspec.json.Encoder().encode


class ApiForm(StrEnum):
    """Whose error conventions a path follows."""

    OPENAI = "openai"
    RESPONSES = "responses"
    """OpenAI's Responses API: plain errors as OpenAI's, a stream ends with `response.failed`."""
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer of the gateway's own instead of a replica's."""

    status: int
    code: str
    """Stable, for machines."""
    message: str
    """One sentence for people that says the fix where there is one."""
    param: str | None = None
    retry_after: int | None = None
    """Seconds, sent as `Retry-After`."""
    close: bool = False
    """The connection cannot be used any further (its framing is not trusted, or its body is not read)."""
    allow: str | None = None
    """Methods for the `Allow` header of a 405."""
    kind: str | None = None
    """OpenAI's `type` where it is not that of the status."""


RESTARTING = Refusal(status=503, code="gateway_restarting", message="The gateway is restarting.", retry_after=1)
TOO_MUCH_HELD = Refusal(
    status=503,
    code="overloaded",
    message="The request bodies that wait here take all the memory they may. Try again.",
    retry_after=1,
)

OWN_ERROR = Refusal(
    status=500,
    code="internal_error",
    message="The gateway itself failed at this request; its log says how.",
    close=True,
)
"""Of an exception that nobody expected."""

_OPENAI_TYPES = {429: "rate_limit_error", 401: "authentication_error", 403: "permission_error"}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def _openai_error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    default = "server_error" if refusal.status >= 500 else "invalid_request_error"
    return {
        "message": refusal.message,
        "type": refusal.kind or _OPENAI_TYPES.get(refusal.status, default),
        "param": refusal.param,
        "code": refusal.code,
        "request_id": request_id,
    }


def _anthropic_error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    default = "api_error" if refusal.status >= 500 else "invalid_request_error"
    kind = _ANTHROPIC_TYPES.get(refusal.status, default)
    return {"type": "error", "error": {"type": kind, "message": refusal.message}, "request_id": request_id}


def raise_own(error: BaseException) -> NoReturn:
    """Raise the exception of ours that llhttp met in a callback, and of which `error` tells.

    Here, where nothing is compiled: compiled code knows no `from None`, and the log would show both.
    """
    raise (error.__context__ or error) from None


def header_lines(refusal: Refusal) -> bytes:
    """Return the headers that `refusal` needs, each with its line end."""
    lines = b""
    if refusal.retry_after is not None:
        lines += b"Retry-After: %d\r\n" % refusal.retry_after
    if refusal.allow is not None:
        lines += b"Allow: %b\r\n" % refusal.allow.encode()
    if refusal.status == 401:
        lines += b'WWW-Authenticate: Bearer realm="modelgrid"\r\n'
    return lines


def body_of(refusal: Refusal, form: ApiForm, request_id: str) -> bytes:
    """Return the JSON body of `refusal` in the shape of `form`."""
    if form is ApiForm.ANTHROPIC:
        return _encode(_anthropic_error(refusal, request_id))
    return _encode({"error": _openai_error(refusal, request_id)})


def final_event(refusal: Refusal, form: ApiForm, request_id: str, first_event: bytes = b"") -> bytes:
    """Return the event that ends a stream which cannot be completed, in the shape of `form`.

    `first_event`: what the stream began with. The Responses API repeats the whole response object in its last event,
    and it is taken from there.
    """
    if form is ApiForm.ANTHROPIC:
        return b"event: error\ndata: " + _encode(_anthropic_error(refusal, request_id)) + b"\n\n"
    if form is ApiForm.RESPONSES:
        return b"event: response.failed\ndata: " + _encode(_response_failed(refusal, first_event)) + b"\n\n"
    return b"data: " + _encode({"error": _openai_error(refusal, request_id)}) + b"\n\n"


class _FirstEvent(msgspec.Struct):
    response: dict[str, Any] = {}


def _response_failed(refusal: Refusal, first_event: bytes) -> dict[str, Any]:
    response: dict[str, Any] = {"object": "response"}
    for line in first_event.splitlines():
        if line.startswith(b"data:"):
            try:
                response |= msgspec.json.decode(line[5:], type=_FirstEvent).response
            except UNREADABLE:
                break  # not the object it should be: the event below stands without it
            break
    response |= {"status": "failed", "error": {"code": "server_error", "message": refusal.message}}
    return {"type": "response.failed", "response": response}
