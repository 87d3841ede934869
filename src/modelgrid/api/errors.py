"""The one error shape: `{"error": {"code", "message", "fix", "details"}}`."""

import json
import re
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelgrid.domain.errors import InvalidInput, ModelGridError

NO_SUCH_METHOD = 405
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")

log = structlog.get_logger()


class ErrorBody(BaseModel):
    code: str
    """Stable word."""
    message: str
    fix: str = ""
    """What to do about it."""
    details: dict[str, Any] = {}


class ErrorView(BaseModel):
    error: ErrorBody


class _ErrorResponse(JSONResponse):
    """A refusal that repeats what it was asked, which may be no text: half of a surrogate pair, as JSON can say it, is
    nothing that UTF-8 has. It is shown as the escape that it came as."""

    def render(self, content: object) -> bytes:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return _HALF_A_PAIR.sub(lambda half: f"\\\\u{ord(half[0]):04x}", text).encode()


def error_response(error: ModelGridError) -> JSONResponse:
    body = {"code": error.code, "message": error.message, "fix": error.fix, "details": jsonable_encoder(error.details)}
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if "retry_after" in error.details:
        headers["Retry-After"] = str(ceil(error.details["retry_after"]))
    return _ErrorResponse({"error": body}, status_code=error.status, headers=headers)


def _in_words(problem: Mapping[str, Any]) -> str:
    """Return what is wrong with one part of a request. Of what was given only numbers are said: texts may be secret."""
    where = ".".join(str(part) for part in problem["loc"]).removeprefix("body.")
    given, message = problem.get("input"), str(problem["msg"])
    said = f", and is {given}" if isinstance(given, int | float) and not isinstance(given, bool) else ""
    return f"{where} {message.replace('Input should', 'should', 1)}{said}" if said else f"{where}: {message}"


def install(app: FastAPI) -> None:
    """Give every foreseen failure the one shape."""

    async def on_known(_: Request, error: Exception) -> Response:
        if not isinstance(error, ModelGridError):
            raise error
        return error_response(error)

    async def on_validation(_: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        problems = [
            {"path": ".".join(str(part) for part in item["loc"]), "expected": item["msg"]} for item in error.errors()
        ]
        said = "; ".join(_in_words(item) for item in error.errors()[:5])
        return error_response(InvalidInput(f"The request is refused: {said}.", problems=problems))

    async def on_http(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        code = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(error.status_code, "invalid_input")
        body = {
            "code": code,
            "message": f"{error.detail.removesuffix('.')}.",
            "fix": "/v1/_ui/openapi.json lists all calls.",
            "details": {},
        }
        headers = dict(error.headers or {})
        if error.status_code == NO_SUCH_METHOD:
            headers["Allow"] = ", ".join(allowed_methods(app.routes, request.scope["path"]))
        return _ErrorResponse({"error": body}, status_code=error.status_code, headers=headers)

    app.add_exception_handler(ModelGridError, on_known)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)


def allowed_methods(routes: Iterable[BaseRoute], path: str) -> list[str]:
    """Return every method that a path takes (RFC 9110, 10.2.1). The framework knows those of one route only."""
    found = [route for route in routes if isinstance(route, APIRoute) and route.path_regex.match(path)]
    fewest = min((len(route.param_convertors) for route in found), default=0)
    return sorted(
        {method for route in found if len(route.param_convertors) == fewest for method in route.methods or ()}
    )


class UnforeseenErrors:
    """The innermost ASGI middleware: what nobody foresaw is logged whole and shown without its insides.

    A handler of `Exception` would not do: it answers outside of all middlewares, without their headers and unheard by
    the audit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            log.exception("unhandled error", path=scope["path"])
            if started:
                raise  # the server breaks the connection, so that nobody takes the part for the whole
            failure = ModelGridError("The daemon failed on this request.", fix="Its log says why.")
            await error_response(failure)(scope, receive, send)
