"""What is refused before anybody asks who calls: strange host names, bodies too large, calls made by other sites.

An ASGI middleware around everything that answers on the console's port."""

from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelgrid.api.context import Services
from modelgrid.api.cookies import session_token
from modelgrid.api.errors import error_response
from modelgrid.config.model import ApiConfig
from modelgrid.decide.access import API, SAFE_METHODS
from modelgrid.decide.browser import cross_site_reason, host_name, is_known_host
from modelgrid.domain.errors import CrossSite, MalformedRequest, Misdirected, ModelGridError, TooLarge

LARGEST_BODY = 1024 * 1024
LONGEST_SHOWN = 100

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "worker-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}


def security_headers(api: ApiConfig) -> list[tuple[str, str]]:
    """Return what every answer carries. The server adds them, so that those it gives by itself have them, too."""
    headers = [
        ("Content-Security-Policy", "; ".join(f"{name} {value}" for name, value in _POLICY.items())),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ]
    if api.tls:
        headers.append(("Strict-Transport-Security", "max-age=31536000"))
    return headers


class Guard:
    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_uncached(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"].startswith(API):
                MutableHeaders(scope=message).setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refusal(scope["method"], headers)
        if refused is not None:
            response = error_response(refused)
            if isinstance(refused, TooLarge):
                response.headers["Connection"] = "close"  # or the server would go on to read it
            await response(scope, receive, send_uncached)
            return
        await self._app(scope, _bounded(receive), send_uncached)

    def _refusal(self, method: str, headers: Headers) -> ModelGridError | None:
        hosts = headers.getlist("host")
        name = host_name(hosts[0]) if len(hosts) == 1 else None
        if name is None:
            return MalformedRequest("A call names one host.", fix="Send one `Host` header, with a name or an address.")
        if not is_known_host(name, self._known_hosts()):
            return Misdirected(
                f"This console is not known as {', '.join(hosts)[:LONGEST_SHOWN]!r}.",
                fix="Call it by an address or by its node's name, or add the name to api.uiHosts in config.json.",
            )
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            return _too_large()
        if method in SAFE_METHODS or "authorization" in headers:
            return None
        reason = cross_site_reason(
            host=hosts[0],
            fetch_site=headers.get("sec-fetch-site"),
            origin=headers.get("origin"),
            has_cookie=session_token(headers, self._services.config.api) is not None,
        )
        if not reason:
            return None
        return CrossSite(
            f"The call is refused: {reason}.",
            fix="Use the console's own pages. Scripts send `Authorization: Bearer` with a token, and no cookie.",
        )

    def _known_hosts(self) -> set[str]:
        config = self._services.settings.running
        nodes = {str(node.name) for node in self._services.nodes()}
        advertised = urlsplit(config.cluster.advertise_url or "").hostname
        return {config.api.ui_host, *config.api.ui_hosts, *nodes, *([advertised] if advertised else [])}


def _too_large() -> TooLarge:
    return TooLarge(f"The body is larger than {LARGEST_BODY // 1024} KiB.", fix="No call of this API needs as much.")


def _bounded(receive: Receive) -> Receive:
    """Stop reading a body that is longer than it may be and did not say so beforehand."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > LARGEST_BODY:
            # FastAPI lets this one through while it reads a body, and no other.
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large().message, {"Connection": "close"})
        return message

    return bounded
