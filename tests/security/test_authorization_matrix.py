"""S5, S6: who may make which call, through the app's own middlewares, equals the table beside this file.

A call that is new has no line in `authorization.txt` and fails: decide who may make it, and add the line."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route
from store_values import access_token, session

from modelgrid.api.app import create_app
from modelgrid.api.context import Services
from modelgrid.config.model import Config
from modelgrid.domain.access import Role

TABLE = Path(__file__).parent / "authorization.txt"
REACHED = 299
HERE = "http://localhost:8081"
OUTSIDE = [
    ("GET", "/"),
    ("POST", "/"),
    ("GET", "/v1/_ui/none"),
]
"""Beside the routes: the console's files, and what is not there."""
ANY = ("GET", "POST")
"""Stand for all methods, where a route takes whatever comes."""


class Known:
    """Stands for sessions and tokens: finds one by the secret that is its name."""

    def __init__(self, items: Mapping[str, Any]) -> None:
        self._items = items

    def find(self, secret: str) -> Any:
        return self._items.get(secret)

    @contextmanager
    def use(self, _: object) -> Iterator[asyncio.Event]:
        yield asyncio.Event()


def cookie(name: str) -> dict[str, str]:
    return {"Cookie": f"modelgrid-8081={name}", "Origin": HERE}


ROLES = {
    "anonymous": {},
    "must-change": cookie("must-change"),
    "viewer": {"Authorization": "Bearer mgt-viewer"},
    "admin-token": {"Authorization": "Bearer mgt-admin"},
    "admin": cookie("admin"),
    "local": {"Authorization": "Bearer local-token"},
}


def calls_of(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every call that the routes take, whether the OpenAPI document has it or not."""
    for route in routes:
        if (included := getattr(route, "original_router", None)) is not None:  # FastAPI looks into it with each request
            context = cast("Any", route).include_context
            yield from calls_of(included.routes, prefix + context.prefix)
        elif isinstance(route, Mount):
            inner = list(calls_of(route.routes or (), prefix + route.path))
            yield from inner or [(method, f"{prefix}{route.path}/x") for method in ANY]
        elif isinstance(route, Route):
            yield from ((method, prefix + route.path_format) for method in route.methods or ANY)
        else:
            raise AssertionError(f"{route!r}: say here which calls it takes")


def test_no_route_is_overlooked() -> None:
    async def answer() -> None:
        return

    inner, router, app = FastAPI(openapi_url=None), APIRouter(prefix="/b"), FastAPI(openapi_url=None)
    inner.add_api_route("/in", answer, include_in_schema=False)
    router.add_api_route("/of/{x:path}", answer, methods=["PUT"], include_in_schema=False)
    app.include_router(router, prefix="/a")
    app.add_api_route("/own", answer, methods=["POST", "DELETE"], include_in_schema=False)
    app.mount("/m", inner)
    app.mount("/files", PlainTextResponse("x"))
    expected = {("PUT", "/a/b/of/{x}"), ("POST", "/own"), ("DELETE", "/own"), ("GET", "/m/in")}
    assert set(calls_of(app.routes)) == expected | {("GET", "/files/x"), ("POST", "/files/x")}
    app.add_api_websocket_route("/socket", answer)
    with pytest.raises(AssertionError, match="/socket"):
        set(calls_of(app.routes))


async def measured() -> list[str]:
    """Return the table as the app's middlewares decide: a call that they let through reaches a stand-in for routing."""

    async def record(**_: object) -> None:
        return

    sessions = {"must-change": session(), "admin": session(must_change_password=False)}
    tokens = {"mgt-viewer": access_token(), "mgt-admin": access_token(role=Role.ADMIN)}
    services = SimpleNamespace(
        config=Config(),
        settings=SimpleNamespace(running=Config()),
        nodes=lambda: (),
        control=None,
        hub=SimpleNamespace(position="0-0"),
        sessions=Known(sessions),
        tokens=Known(tokens),
        audit=SimpleNamespace(record=record),
    )
    app = create_app(cast("Services", services), "local-token")
    calls = set(calls_of(app.routes))
    published = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    assert published <= calls
    app.router.middleware_stack = PlainTextResponse("reached", REACHED)
    lines = [f"{'':7}{'':46}{' '.join(f'{role:11}' for role in ROLES)}".rstrip()]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as http:
        for method, path in sorted({*calls, *OUTSIDE}, key=lambda call: (call[1], call[0])):
            answers = [(await http.request(method, path, headers=headers)).status_code for headers in ROLES.values()]
            words = [f"{'yes' if status == REACHED else status!s:11}" for status in answers]
            lines.append(f"{method:7}{path:46}{' '.join(words)}".rstrip())
    return lines


async def test_who_may_make_which_call_is_what_the_table_says() -> None:
    lines = await measured()
    assert TABLE.read_text().splitlines() == lines
    print(f"S5: {len(lines) - 1} calls by {len(ROLES)} roles, each as in the table")
