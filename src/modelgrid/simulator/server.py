"""The HTTP side of a simulated engine: what may be asked, by whom, and who answers."""

import asyncio
import hmac
from collections.abc import Callable
from http import HTTPStatus
from os import getpid
from typing import Any

import msgspec

from modelgrid.simulator import chat, completions, log, messages, pooling, responses, tokenization
from modelgrid.simulator.answers import text_json
from modelgrid.simulator.engine import Engine, Generation
from modelgrid.simulator.errors import ApiError, unknown_model, unsupported_media_type
from modelgrid.simulator.faults import SOUND, Faults, parse_faults
from modelgrid.simulator.http import JSON, Connection, Request
from modelgrid.simulator.metrics import EngineMetrics
from modelgrid.simulator.settings import EngineSettings

VERSION = "0.32.0+simulated"
"""The version of vLLM whose API is imitated."""
_METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_GUARDED = ("/v1", "/v2", "/inference", "/cohere")
"""Paths that need the API key when there is one: vLLM's own list."""
_UNCOUNTED = {"/metrics", "/health", "/load", "/ping", "/version"}
_LOAD_FAULTS = ("oom_at_load", "kv_too_small", "exit_at_load", "hang_at_load")

Handler = Callable[["Server", Request, Connection], None]
GENERATE: dict[str, Handler] = {
    "/v1/chat/completions": chat.handle,
    "/v1/completions": completions.handle,
    "/v1/responses": responses.handle,
    "/v1/messages": messages.handle,
    "/v1/messages/count_tokens": messages.count,
}
POOLING: dict[str, Handler] = {
    "/v1/embeddings": pooling.embeddings,
    "/pooling": pooling.pooling,
    "/classify": pooling.classify,
    "/score": pooling.score,
    "/v1/score": pooling.score,
    "/rerank": pooling.rerank,
    "/v1/rerank": pooling.rerank,
    "/v2/rerank": pooling.rerank,
}
_UTILITY: dict[str, Handler] = {"/tokenize": tokenization.tokenize, "/detokenize": tokenization.detokenize}


class Server:
    """Serves one engine on one event loop."""

    def __init__(
        self,
        settings: EngineSettings,
        loop: asyncio.AbstractEventLoop,
        *,
        die: Callable[[str], None],
        kill: Callable[[], None],
    ) -> None:
        """`die` and `kill` end the process, see `Engine`."""
        self.settings = settings
        self.metrics = EngineMetrics(settings)
        self.engine = Engine(settings, self.metrics, loop=loop, die=die, kill=kill)
        self.connections: set[Connection] = set()
        self.deserted = asyncio.Event()
        """Set while there is no connection."""
        self.deserted.set()
        self.model_json = text_json(settings.served_names[0])
        self.fingerprint_json = text_json(f"vllm-{VERSION}-simulated")
        self._created = int(self.metrics.started_at)
        self._id_prefix = f"{self._created:08x}{getpid() % 2**32:08x}"
        self._ids = 0
        self._faulty = 0.0
        self._posts = dict(_UTILITY)
        if settings.runner != "pooling":
            self._posts |= GENERATE
        if settings.runner != "generate":
            self._posts |= POOLING
        self._gets: dict[str, Callable[[Request, Connection], None]] = {
            "/health": self._health,
            "/ping": self._health,
            "/version": self._version,
            "/load": self._load,
            "/metrics": self._metrics,
            "/v1/models": self._models,
            "/sim": self._simulation,
        }

    def new_id(self) -> str:
        """Return 32 hexadecimal digits that no other answer of this process has."""
        self._ids += 1
        return f"{self._id_prefix}{self._ids:016x}"

    def check_model(self, name: str | None) -> None:
        """Raise `ApiError` when `name` is not served. No name means the only model, as in vLLM."""
        if name and name not in self.settings.served_names:
            raise unknown_model(name, self.settings.served_names)

    def generate(self, connection: Connection, generation: Generation) -> None:
        """Hand a request to the engine. The head of a stream is sent at once, as vLLM does."""
        connection.generation = generation
        if generation.stream:
            connection.start_stream()
        self.engine.submit(generation)

    # http.Application

    def opened(self, connection: Connection) -> None:
        self.connections.add(connection)
        self.deserted.clear()

    def closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self.deserted.set()

    def handle(self, request: Request, connection: Connection) -> None:
        if self.engine.faults.freeze and not request.path.startswith("/sim"):
            return
        try:
            self._route(request, connection)
        except ApiError as error:
            # Requests that do not validate are refused before Anthropic's router sees them, in OpenAI's shape.
            anthropic = request.path.startswith("/v1/messages") and error.kind != "Bad Request"
            connection.respond(error.status, error.anthropic() if anthropic else error.openai())

    def answered(self, request: Request, status: int, connection: Connection) -> None:
        if request.path not in _UNCOUNTED:
            known = request.path in self._posts or request.path in self._gets
            series = (request.path if known else "none", request.method, f"{status // 100}xx")
            self.metrics.http[series] = self.metrics.http.get(series, 0) + 1
        if self.settings.access_log:
            phrase = HTTPStatus(status).phrase
            log.access(f'INFO:     {connection.peer} - "{request.method} {request.path} HTTP/1.1" {status} {phrase}')

    def _route(self, request: Request, connection: Connection) -> None:
        path, method = request.path, request.method
        if self.settings.api_keys and path.startswith(_GUARDED) and not self._authorized(request):
            connection.respond(401, b'{"error":"Unauthorized"}')
            return
        post = self._posts.get(path)
        if post is not None and method == "POST":
            if request.content_type.partition(";")[0].strip().lower() != "application/json":
                raise unsupported_media_type()
            if self.engine.faults.status is not None and path not in _UTILITY:
                self._maybe_fail(self.engine.faults)
            post(self, request, connection)
        elif (get := self._gets.get(path)) is not None and (
            method in {"GET", "HEAD"} or (method == "POST" and path == "/ping")
        ):
            get(request, connection)
        elif path == "/sim/faults":
            self._change_faults(request, connection)
        elif path.startswith("/v1/responses/") and self.settings.runner != "pooling" and method in {"GET", "POST"}:
            raise responses.not_found(path.removeprefix("/v1/responses/").removesuffix("/cancel"))
        elif post is not None or path in self._gets:
            connection.respond(405, b'{"detail":"Method Not Allowed"}')
        else:
            connection.respond(404, b'{"detail":"Not Found"}')

    def _authorized(self, request: Request) -> bool:
        scheme, _, token = request.authorization.partition(" ")
        given = token.encode()
        matches = [hmac.compare_digest(given, key.encode()) for key in self.settings.api_keys]
        return scheme.lower() == "bearer" and any(matches)

    def _maybe_fail(self, faults: Faults) -> None:
        # Carrying the rest over spreads the failures evenly: 0.25 fails every fourth request.
        self._faulty += faults.status_rate
        if self._faulty >= 1 and faults.status is not None:
            self._faulty -= 1
            known = faults.status in HTTPStatus.__members__.values()
            kind = HTTPStatus(faults.status).phrase if known else "Error"
            raise ApiError(f"Simulated fault: status {faults.status}", status=faults.status, kind=kind)

    # small answers

    def _health(self, _: Request, connection: Connection) -> None:
        connection.respond(503 if self.engine.faults.unhealthy else 200, b"", b"")

    def _version(self, _: Request, connection: Connection) -> None:
        connection.respond(200, msgspec.json.encode({"version": VERSION}))

    def _load(self, _: Request, connection: Connection) -> None:
        connection.respond(200, msgspec.json.encode({"server_load": self.engine.running + self.engine.waiting}))

    def _metrics(self, _: Request, connection: Connection) -> None:
        engine = self.engine
        text = self.metrics.text(
            running=engine.running,
            waiting=engine.waiting,
            cache_usage=engine.cache_usage,
            queries=engine.cache_queries,
            hits=engine.cache_hits,
        )
        connection.respond(200, text, _METRICS_TYPE)

    def _models(self, _: Request, connection: Connection) -> None:
        permission = {
            "id": f"modelperm-{self.new_id()}",
            "object": "model_permission",
            "created": self._created,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
        cards = [
            {
                "id": name,
                "object": "model",
                "created": self._created,
                "owned_by": "vllm",
                "root": self.settings.model,
                "parent": None,
                "max_model_len": self.settings.context,
                "permission": [permission],
            }
            for name in self.settings.served_names
        ]
        connection.respond(200, msgspec.json.encode({"object": "list", "data": cards}))

    # /sim: what only a simulated engine has

    def _simulation(self, _: Request, connection: Connection) -> None:
        """Say that this is simulated, and what it does at present."""
        body: dict[str, Any] = {
            "simulated": True,
            "pid": getpid(),
            "running": self.engine.running,
            "waiting": self.engine.waiting,
            "connections": len(self.connections),
            "faults": self.engine.faults.active(),
        }
        connection.respond(200, msgspec.json.encode(body), JSON)

    def _change_faults(self, request: Request, connection: Connection) -> None:
        """`POST {"faults": ["hang", "status=503:0.5"]}` replaces the faults in force; an empty list ends them."""
        if request.method != "POST":
            connection.respond(405, b'{"detail":"Method Not Allowed"}')
            return
        try:
            wanted = msgspec.json.decode(request.body, type=_FaultsRequest).faults
            faults = parse_faults(wanted)
        except (msgspec.DecodeError, ValueError) as error:
            raise ApiError(str(error), param="faults") from error
        if any(getattr(faults, name) != getattr(SOUND, name) for name in _LOAD_FAULTS):
            raise ApiError("This engine has loaded already: give faults of the load by --sim-fault.", param="faults")
        self._faulty = 0.0
        self.engine.faults = faults
        connection.respond(200, msgspec.json.encode({"faults": faults.active()}))


class _FaultsRequest(msgspec.Struct, frozen=True):
    faults: list[str]
