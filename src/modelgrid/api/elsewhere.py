"""What only another node has is asked of that node: the log lines of an engine, its figures.

An ASGI middleware behind authentication: a `GET` of such a resource of a deployment that is placed on a member, or of
the log of a member, is passed to that member's control process, which answers it as it would its own console."""

import re

import httpx
import structlog
from starlette.background import BackgroundTask
from starlette.datastructures import QueryParams
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from modelgrid.adapters.control_plane_http.pinning import pinned_to
from modelgrid.api.context import Services
from modelgrid.api.errors import error_response
from modelgrid.domain.cluster import Member
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.ids import NodeName

_ELSEWHERE = re.compile(r"/v1/_ui/deployments/([^/]+)/(?:logs|metrics)")
_LOGS = "/v1/_ui/logs"
_OF_DEPLOYMENT = "deployment:"
FROM = "X-ModelGrid-Node"
"""Header of an answer that another node gave: nothing of it comes by the stream of this one."""
ANSWER_SECONDS = 35.0
"""A wait for the next log line is bounded by 30 s."""

log = structlog.get_logger()


class NodeUnreachable(ModelGridError):
    """The node that has what was asked for does not answer."""

    code = "node_unreachable"
    status = 502


class Elsewhere:
    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services
        self._clients: dict[str, httpx.AsyncClient] = {}
        """By certificate: a node that joins anew gets a connection anew."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        member = self._member(scope) if scope["type"] == "http" else None
        if member is None:
            await self._app(scope, receive, send)
            return
        await (await self._ask(member, scope))(scope, receive, send)

    def _member(self, scope: Scope) -> Member | None:
        """Return the node that has what is asked for, when that is another one."""
        control = self._services.control
        if control is None or scope["method"] != "GET":
            return None
        if (node := _node_of(scope)) is not None:
            return control.members.find(NodeName(node))
        named = _deployment_of(scope)
        if named is None:
            return None
        try:
            deployment = self._services.registry.resolve(named)
        except ModelGridError:
            return None
        return control.members.find(deployment.placement.node) if deployment.placement is not None else None

    async def _ask(self, member: Member, scope: Scope) -> Response:
        client = self._clients.get(member.certificate)
        if client is None:
            client = httpx.AsyncClient(verify=pinned_to(member.certificate), trust_env=False, timeout=ANSWER_SECONDS)
            self._clients[member.certificate] = client
        path = scope["raw_path"].decode("ascii", "replace").partition("?")[0]
        query = scope["query_string"].decode("ascii", "replace")
        url = f"{member.cluster_url}{path}?{query}" if query else f"{member.cluster_url}{path}"
        headers = {"Authorization": f"Bearer {self._services.node_credential()}", "Host": member.name}
        try:
            answer = await client.send(client.build_request("GET", url, headers=headers), stream=True)
        except httpx.HTTPError as error:
            log.info("a node does not answer", node=member.name, reason=str(error) or type(error).__name__)
            return error_response(
                NodeUnreachable(
                    f"{member.name}, where this is, does not answer: {str(error) or type(error).__name__}.",
                    fix="What it reported last stands in the deployment's summary and events.",
                    node=member.name,
                )
            )
        kept = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
        return StreamingResponse(
            answer.aiter_bytes(),
            status_code=answer.status_code,
            headers={**kept, FROM: member.name},
            background=BackgroundTask(answer.aclose),
        )


_KEPT = ("content-type", "content-disposition")


def _node_of(scope: Scope) -> str | None:
    """Return the node whose log is asked for by its name."""
    return QueryParams(scope["query_string"]).get("node") if scope["path"] == _LOGS else None


def _deployment_of(scope: Scope) -> str | None:
    """Return the deployment whose node alone has what is asked for; `None` for all else."""
    found = _ELSEWHERE.fullmatch(scope["path"])
    if found is not None:
        return found[1]
    if scope["path"] != _LOGS:
        return None
    sources = QueryParams(scope["query_string"]).getlist("source")
    if len(sources) != 1 or not sources[0].startswith(_OF_DEPLOYMENT):
        return None
    return sources[0].removeprefix(_OF_DEPLOYMENT)
