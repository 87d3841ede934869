"""Logging in and out, and who is logged in."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, Field

from modelgrid.api.context import CLAIMED, Context, OwnSession, Services, Source, Who
from modelgrid.api.cookies import drop_session_cookie, put_session_cookie
from modelgrid.domain.access import CallerKind, Principal, Role, Session
from modelgrid.services.accounts import LONGEST_PASSWORD, SHORTEST_PASSWORD, PasswordProof
from modelgrid.services.sessions import Opened

router = APIRouter(tags=["session"])

Password = Annotated[str, Field(max_length=LONGEST_PASSWORD)]


class LoginBody(BaseModel, extra="forbid"):
    user: str = Field(max_length=64, examples=["admin"])
    password: Password


class OwnPasswordBody(BaseModel, extra="forbid"):
    current: Password
    new: Password = Field(description=f"At least {SHORTEST_PASSWORD} characters, and not the current one.")


class SessionView(BaseModel):
    """Who makes this call."""

    user: str
    kind: CallerKind
    role: Role
    must_change_password: bool
    """Logged in with the one-time password: nothing is possible but changing it."""
    expires_at: float | None
    """The latest end; without use a session ends after an hour. `null`: does not end."""


class SessionItem(BaseModel):
    id: str
    user: str
    created_at: float
    last_seen_at: float
    expires_at: float
    source: str
    """Address it was opened from."""
    agent: str
    """What the browser called itself."""
    current: bool
    """Whether this call belongs to it."""


class SessionList(BaseModel):
    items: list[SessionItem]


def _view(user: str, session: Session) -> SessionView:
    return SessionView(
        user=user,
        kind=CallerKind.SESSION,
        role=Role.ADMIN,
        must_change_password=session.must_change_password,
        expires_at=session.expires_at,
    )


def _answer(services: Services, request: Request, response: Response, opened: Opened) -> SessionView:
    session = opened.session
    lasts = session.expires_at - services.clock.now()
    put_session_cookie(response, request.headers, services.config.api, opened.token, lasts)
    return _view(session.user, session)


@router.post("/login")
async def login(
    services: Context,
    source: Source,
    body: LoginBody,
    request: Request,
    response: Response,
    user_agent: Annotated[str, Header(include_in_schema=False)] = "",
) -> SessionView:
    """Open a session with a user's password; the answer sets its cookie. Needs no credential.

    After several wrong passwords from one address further tries there are answered with 429 and `Retry-After`."""
    request.scope[CLAIMED] = body.user
    proof = PasswordProof(services.accounts, body.user, body.password)
    opened = await services.sessions.login(proof, source=source, agent=user_agent)
    return _answer(services, request, response, opened)


@router.post("/logout", status_code=204)
async def logout(services: Context, session: OwnSession, request: Request, response: Response) -> None:
    """End the session of this call."""
    await services.sessions.end(session.id)
    drop_session_cookie(response, request.headers, services.config.api)


@router.get("/session")
async def show_session(who: Who) -> SessionView:
    """Return who makes this call, and what they may do."""
    return SessionView(
        user=who.name,
        kind=who.kind,
        role=who.role,
        must_change_password=who.must_change_password,
        expires_at=who.expires_at,
    )


@router.post("/password")
async def change_password(
    services: Context, session: OwnSession, source: Source, body: OwnPasswordBody, request: Request, response: Response
) -> SessionView:
    """Change one's own password. All sessions of the user end; the answer sets the cookie of a new one."""
    opened = await services.sessions.change_password(session, body.current, body.new, source=source)
    return _answer(services, request, response, opened)


@router.get("/sessions")
async def list_sessions(services: Context, who: Who) -> SessionList:
    """Return all login sessions."""
    items = [_item(session, who) for session in services.sessions.all()]
    return SessionList(items=items)


@router.delete("/sessions/{session}", status_code=204)
async def end_session(services: Context, session: str) -> None:
    """End anybody's session: its next call is refused, its streams close."""
    await services.sessions.end(session)


def _item(session: Session, who: Principal) -> SessionItem:
    return SessionItem(
        id=session.id,
        user=session.user,
        created_at=session.created_at,
        last_seen_at=session.last_seen_at,
        expires_at=session.expires_at,
        source=session.source,
        agent=session.agent,
        current=session.id == who.id,
    )
