"""Who calls, and whether they may. An ASGI middleware in front of everything, so that no route can forget it.

Decides on `scope["path"]`, which routing uses too; a URL put together from headers could differ from it.
Forwarded headers are never looked at, and this machine's own addresses are strangers like any other.
"""

import asyncio
from hashlib import sha256
from hmac import compare_digest

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelgrid.api.context import PRINCIPAL, SESSION, Services
from modelgrid.api.cookies import session_token
from modelgrid.api.errors import error_response
from modelgrid.decide.access import refusal
from modelgrid.domain.access import AccessToken, CallerKind, Principal, Role, Session
from modelgrid.domain.errors import ModelGridError, Unauthenticated
from modelgrid.domain.key_format import TOKEN_PREFIX

VERIFIED = "modelgrid.verified"
"""Key of the scope: a caller whom another application of this process is sure of. No request can set it."""

LOCAL = Principal(name="local", kind=CallerKind.LOCAL, role=Role.ADMIN)


class Authentication:
    """Names the caller in the scope, refuses what they may not do, and ends their streams with their session."""

    def __init__(self, app: ASGIApp, services: Services, token: str) -> None:
        self._app = app
        self._services = services
        self._digest = sha256(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        credential = scope.get(VERIFIED) or self._credential(headers)
        principal = scope[PRINCIPAL] = _principal(credential)
        refused = refusal(principal, scope["method"], scope["path"])
        if refused is not None:
            await error_response(_explained(refused, headers))(scope, receive, send)
            return
        scope[SESSION] = credential if isinstance(credential, Session) else None
        if isinstance(credential, Session):
            with self._services.sessions.use(credential) as ended:
                await _until(ended, self._app, scope, receive, send)
        elif isinstance(credential, AccessToken):
            with self._services.tokens.use(credential) as ended:
                await _until(ended, self._app, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _credential(self, headers: Headers) -> "Credential":
        """Return what the call proves. A token goes before a cookie."""
        if authorization := headers.get("authorization"):
            kind, _, token = authorization.partition(" ")
            return self._bearer(token.strip()) if kind.lower() == "bearer" else None
        token = session_token(headers, self._services.config.api) or ""
        return self._services.sessions.find(token) if token else None

    def _bearer(self, token: str) -> "Credential":
        if token.startswith(TOKEN_PREFIX):
            return self._services.tokens.find(token)
        return LOCAL if compare_digest(sha256(token.encode()).digest(), self._digest) else None


Credential = Session | AccessToken | Principal | None
"""A login session, a token, the local operator, or nothing that is known."""


def _principal(credential: Credential) -> Principal | None:
    match credential:
        case Session():
            return Principal(
                name=credential.user,
                kind=CallerKind.SESSION,
                role=Role.ADMIN,
                id=credential.id,
                must_change_password=credential.must_change_password,
                expires_at=credential.expires_at,
            )
        case AccessToken():
            return Principal(
                name=f"token {credential.label}",
                kind=CallerKind.TOKEN,
                role=credential.role,
                id=credential.id,
                expires_at=credential.expires_at,
            )
    return credential


def _explained(refused: ModelGridError, headers: Headers) -> ModelGridError:
    if isinstance(refused, Unauthenticated) and "authorization" in headers:
        return Unauthenticated("This credential is not known.", fix=refused.fix)
    return refused


async def _until(ended: asyncio.Event, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run `app`; tell it that the client has gone when the session has ended, and then close the answer properly.

    Answers that are not streams never ask whether the client has gone, so they are given whole."""
    state = {"started": False, "complete": False}

    async def receive_or_end() -> Message:
        receiving, ending = asyncio.ensure_future(receive()), asyncio.ensure_future(ended.wait())
        try:
            await asyncio.wait({receiving, ending}, return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else {"type": "http.disconnect"}
        finally:
            receiving.cancel()
            ending.cancel()

    async def watch(message: Message) -> None:
        state["started"] = True
        state["complete"] = message["type"] == "http.response.body" and not message.get("more_body", False)
        await send(message)

    await app(scope, receive_or_end, watch)
    if state["started"] and not state["complete"]:
        await send({"type": "http.response.body", "body": b"", "more_body": False})
