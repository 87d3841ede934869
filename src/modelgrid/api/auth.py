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
from modelgrid.domain.access import CallerKind, Principal, Role, Session
from modelgrid.domain.errors import ModelGridError, Unauthenticated

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
        session: Session | None = None
        if authorization := headers.get("authorization"):
            principal = self._bearer(authorization)
        elif (session := self._session(headers)) is not None:
            principal = _of(session)
        else:
            principal = None
        refused = refusal(principal, scope["method"], scope["path"])
        if refused is not None:
            await error_response(_explained(refused, headers))(scope, receive, send)
            return
        scope[PRINCIPAL], scope[SESSION] = principal, session
        if session is None:
            await self._app(scope, receive, send)
            return
        with self._services.sessions.use(session) as ended:
            await _until(ended, self._app, scope, receive, send)

    def _bearer(self, authorization: str) -> Principal | None:
        kind, _, token = authorization.partition(" ")
        digest = sha256(token.strip().encode()).digest()
        return LOCAL if kind.lower() == "bearer" and compare_digest(digest, self._digest) else None

    def _session(self, headers: Headers) -> Session | None:
        token = session_token(headers, self._services.config.api)
        return self._services.sessions.find(token) if token else None


def _of(session: Session) -> Principal:
    return Principal(
        name=session.user,
        kind=CallerKind.SESSION,
        role=Role.ADMIN,
        id=session.id,
        must_change_password=session.must_change_password,
        expires_at=session.expires_at,
    )


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
