"""Who may call the console API. Every path needs a credential, from loopback as from anywhere else."""

from hashlib import sha256
from hmac import compare_digest

from starlette.types import ASGIApp, Receive, Scope, Send

from modelgrid.api.errors import error_response
from modelgrid.domain.errors import Unauthenticated

LOCAL_CALLER = "local"
"""Whoever can read the daemon's token file: the operator on this machine."""

OPEN_PATHS = frozenset({"/v1/_ui/health"})


class BearerAuthentication:
    """ASGI middleware: checks `Authorization: Bearer` and names the caller in the scope.

    Decides on `scope["path"]`, which routing uses too; a URL put together from headers could differ from it.
    Forwarded headers are never looked at.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._digest = sha256(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        kind, _, token = given.partition(b" ")
        if kind.lower() == b"bearer" and compare_digest(sha256(token.strip()).digest(), self._digest):
            scope["modelgrid.caller"] = LOCAL_CALLER
            await self._app(scope, receive, send)
            return
        refusal = Unauthenticated(
            "This needs a credential." if not given else "This credential is not known.",
            fix="Send `Authorization: Bearer` with the token in the file `token` of the state directory.",
        )
        response = error_response(refusal)
        response.headers["WWW-Authenticate"] = "Bearer"
        await response(scope, receive, send)
