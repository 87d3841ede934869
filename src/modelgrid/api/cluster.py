"""What nodes say to each other's control process, on `cluster.port`: TLS, and a credential of each node's own.

Not part of the console's API: other daemons call it, and its bodies are the types of `domain.cluster` as JSON. The
control plane answers joins and heartbeats. Every node lets its control plane read the console's API here, so that what
only that node has (its logs, its figures) is pulled when somebody looks at it.
"""

import gzip
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from modelgrid.api.auth import VERIFIED
from modelgrid.api.errors import UnforeseenErrors, error_response
from modelgrid.api.heartbeats import Heartbeats, bearer, message
from modelgrid.domain.access import CallerKind, Principal, Role
from modelgrid.domain.cluster import IntroducedCall, JoinCall, SharedRouting, Welcome
from modelgrid.domain.errors import InvalidInput, ModelGridError, NotFound, Unauthenticated
from modelgrid.domain.ids import NodeName
from modelgrid.domain.introduction import NONCE_BYTES
from modelgrid.services.cluster.control_plane import ControlPlane
from modelgrid.services.cluster.members import Joined, Members, stranger
from modelgrid.services.cluster.shared_routing import SharedRoutingService

PREFIX = "/v1/_cluster"
HEARTBEAT = f"{PREFIX}/heartbeat"
CONSOLE = "/v1/_ui/"
HOLD_SECONDS = 25.0
PACKED_FROM = 64 * 1024
"""Bytes."""
LARGEST_JOIN = 64 * 1024
NO_NEWS = 204
_JOIN, _INTRODUCED = msgspec.json.Decoder(JoinCall), msgspec.json.Decoder(IntroducedCall)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneApi:
    """What the control plane answers with."""

    control: ControlPlane
    routing: SharedRoutingService
    heartbeat_seconds: float
    name: NodeName


def create_cluster_app(
    console: ASGIApp, control_plane_of: Callable[[str], str | None], api: ControlPlaneApi | None
) -> ASGIApp:
    """Return the ASGI application of `cluster.port`.

    `control_plane_of` names the control plane if a credential is its own, `None` for any other. `api`: on the control
    plane only."""
    routes = _control_plane_routes(api) if api is not None else []
    heartbeats = Heartbeats(api.control) if api is not None else None
    app = Starlette(routes=routes, exception_handlers={ModelGridError: _refused, 404: _unknown, 405: _unknown})
    return UnforeseenErrors(_Door(app, heartbeats, console, control_plane_of))


class _Door:
    """Lets the control plane read the console's API of this node; the rest goes to the cluster's own routes."""

    def __init__(
        self,
        app: ASGIApp,
        heartbeats: ASGIApp | None,
        console: ASGIApp,
        control_plane_of: Callable[[str], str | None],
    ) -> None:
        self._app = app
        self._heartbeats = heartbeats
        self._console = console
        self._control_plane_of = control_plane_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise AssertionError(f"the cluster's port does not speak {scope['type']}")
        if scope["path"] == HEARTBEAT and scope["method"] == "POST" and self._heartbeats is not None:
            await self._heartbeats(scope, receive, send)
            return
        if not scope["path"].startswith(CONSOLE):
            await self._app(scope, receive, send)
            return
        caller = self._control_plane_of(bearer(scope))
        if caller is None or scope["method"] != "GET":
            refused = Unauthenticated("Only this node's control plane reads here.", fix="Use the console's own port.")
            await error_response(refused)(scope, receive, send)
            return
        reader = Principal(name=f"node {caller}", kind=CallerKind.TOKEN, role=Role.VIEWER)
        await self._console({**scope, VERIFIED: reader}, receive, send)


def _must_be_member(members: Members, name: NodeName, since: float) -> None:
    """Raise `Unauthenticated` when a node has left while its question was held. It may have another credential now."""
    if members.joined_at(name) != since:
        raise stranger()


def _control_plane_routes(api: ControlPlaneApi) -> list[Route]:
    members, control = api.control.members, api.control
    encoded = _Encoded()

    def welcome(joined: Joined) -> Response:
        return _json(
            Welcome(control_plane=api.name, credential=joined.credential, heartbeat_seconds=api.heartbeat_seconds)
        )

    async def join(request: Request) -> Response:
        asked = await message(request.receive, _JOIN, LARGEST_JOIN)
        joined = await members.join(asked.secret, asked.request)
        return welcome(joined)

    async def introduction(request: Request) -> Response:
        nonce = request.query_params.get("nonce", "")
        if len(nonce) != 2 * NONCE_BYTES or not nonce.isalnum():
            raise InvalidInput(f"nonce is {2 * NONCE_BYTES} hexadecimal digits.", fix="Do both run the same version?")
        return _json(members.introduce(nonce))

    async def join_introduced(request: Request) -> Response:
        joined = await members.join_introduced(await message(request.receive, _INTRODUCED, LARGEST_JOIN))
        return welcome(joined)

    async def orders(request: Request) -> Response:
        name = await members.authenticate(bearer(request.scope))
        epoch, sequence = _numbers(request, "epoch", "sequence")
        since = members.joined_at(name)
        found = await control.orders.newer(name, epoch, sequence, wait_seconds=HOLD_SECONDS)
        _must_be_member(members, name, since)
        return _json(found) if found is not None else Response(status_code=NO_NEWS)

    async def routing(request: Request) -> Response:
        name = await members.authenticate(bearer(request.scope))
        since = members.joined_at(name)
        epoch, generation = _numbers(request, "epoch", "generation")
        changes = request.query_params.get("changes") == "1"
        found = await api.routing.newer(epoch, generation, wait_seconds=HOLD_SECONDS, changes=changes)
        _must_be_member(members, name, since)
        if found is None:
            return Response(status_code=NO_NEWS)
        plain, packed = encoded(found)
        takes = "gzip" in request.headers.get("accept-encoding", "")
        return _sent(packed, {"Content-Encoding": "gzip"}) if takes and packed else _sent(plain)

    async def leave(request: Request) -> Response:
        name = await members.authenticate(bearer(request.scope))
        await control.remove(name, by=f"node {name}", force=True)
        return Response(status_code=NO_NEWS)

    calls: dict[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
        "/join": ("POST", join),
        "/introduction": ("GET", introduction),
        "/introduced": ("POST", join_introduced),
        "/orders": ("GET", orders),
        "/routing": ("GET", routing),
        "/leave": ("POST", leave),
    }
    return [Route(PREFIX + path, call, methods=[method]) for path, (method, call) in calls.items()]


def _numbers(request: Request, *names: str) -> tuple[int, ...]:
    texts = [request.query_params.get(name, "0") for name in names]
    if not all(text.isascii() and text.isdigit() for text in texts):
        raise InvalidInput(f"{' and '.join(names)} are whole numbers.", fix="Do both run versions that go together?")
    return tuple(int(text) for text in texts)


class _Encoded:
    """Encodes what is the same for many nodes once for all of them: the routing of a large cluster is megabytes."""

    def __init__(self) -> None:
        self._state = (0, 0)
        self._bodies: dict[int, tuple[bytes, bytes]] = {}
        """By the generation since which they say what is new."""

    def __call__(self, said: SharedRouting) -> tuple[bytes, bytes]:
        """Return the body, and the same packed; empty where that is not worth while."""
        state = said.epoch, said.generation
        if state != self._state:
            self._state, self._bodies = state, {}
        if said.since not in self._bodies:
            body = msgspec.json.encode(said)
            packed = gzip.compress(body, compresslevel=1) if len(body) >= PACKED_FROM else b""
            self._bodies[said.since] = body, packed
        return self._bodies[said.since]


def _json(value: object) -> Response:
    return _sent(msgspec.json.encode(value))


def _sent(body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store", **(headers or {})})


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, ModelGridError):
        raise error
    return error_response(error)


async def _unknown(request: Request, _: Exception) -> Response:
    return error_response(
        NotFound(
            f"{request.method} {request.scope['path']} is no call of this port.",
            fix="Nodes talk to each other here. The console has a port of its own, and so has the model API.",
        )
    )
