"""Errors in the words and the shape of vLLM."""

import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec

T = TypeVar("T")
_LOCATION = re.compile(r" - at `\$\.?(.*)`$")
_BYTE = re.compile(r"\(byte (\d+)\)")
_MISSING = re.compile(r"missing required field `(.*?)`")


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self, message: str, *, status: int = 400, kind: str = "BadRequestError", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.param = param

    def openai(self) -> bytes:
        """Return the body for every API but Anthropic's."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}
        return msgspec.json.encode({"error": error})

    def anthropic(self) -> bytes:
        return msgspec.json.encode({"type": "error", "error": {"type": self.kind, "message": self.message}})


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Return the request in `body`. Raises `ApiError` that reads like vLLM's validation errors."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        text = str(error)
        path = _LOCATION.search(text)
        missing = _MISSING.search(text)
        parts = [part for part in ("body", path and path[1], missing and missing[1]) if part]
        kind, reason = ("missing", "Field required") if missing else ("value_error", _LOCATION.sub("", text))
        raise _invalid(kind, ".".join(parts), reason) from error
    except msgspec.DecodeError as error:
        at = _BYTE.search(str(error))
        location = f"body.{at[1]}" if at else "body"
        raise _invalid("json_invalid", location, "JSON decode error", ctx={"error": str(error)}) from error


def unsupported_media_type() -> ApiError:
    return ApiError(
        "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed", kind="Bad Request"
    )


def unknown_model(name: str, served: Iterable[str]) -> ApiError:
    return ApiError(
        f"The model `{name}` does not exist. Valid aliases: {', '.join(served)}.",
        status=404,
        kind="NotFoundError",
        param="model",
    )


def _invalid(kind: str, location: str, reason: str, **more: object) -> ApiError:
    detail = {"type": kind, "loc": location, "msg": reason, **more}
    return ApiError(f"1 validation error:\n  {detail}", kind="Bad Request", param=location)
