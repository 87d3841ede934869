"""Tokens with which scripts call this API."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from modelgrid.api.access import LATEST, KeyStatus
from modelgrid.api.context import Caller, Context
from modelgrid.api.paging import MarkText, MostRows, page_after
from modelgrid.domain.access import AccessToken, Role

router = APIRouter(tags=["access"])


class TokenView(BaseModel):
    id: str
    label: str
    prefix: str
    role: Role
    created_at: float
    created_by: str
    expires_at: float | None
    last_used_at: float | None
    revoked_at: float | None
    status: KeyStatus


class NewTokenView(TokenView):
    secret: str
    """Shown this once, never again."""


class TokenList(BaseModel):
    items: list[TokenView]
    next_after: str | None
    """For the next page; null: there is none."""


class TokenBody(BaseModel, extra="forbid"):
    label: str = Field(examples=["ci"])
    role: Role = Field(Role.VIEWER, description="`viewer` may only read; `admin` may do everything.")
    expires_at: float | None = Field(
        None, ge=0, le=LATEST, strict=True, description="Unix seconds; null: does not expire."
    )


def _fields(token: AccessToken, now: float) -> dict[str, Any]:
    expired = token.expires_at is not None and token.expires_at <= now
    return {
        "id": token.id,
        "label": token.label,
        "prefix": token.prefix,
        "role": token.role,
        "created_at": token.created_at,
        "created_by": token.created_by,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
        "revoked_at": token.revoked_at,
        "status": "revoked" if token.revoked_at else "expired" if expired else "active",
    }


@router.get("/tokens")
async def list_tokens(
    services: Context, status: KeyStatus | None = None, limit: MostRows = 5_000, after: MarkText = None
) -> TokenList:
    """Return tokens, oldest first; revoked ones, too."""
    now = services.clock.now()
    views = [TokenView(**_fields(token, now)) for token in services.tokens.all()]
    fitting = [view for view in views if status in (None, view.status)]
    page, following = page_after(fitting, lambda view: (view.created_at, view.id), limit, after)
    return TokenList(items=page, next_after=following)


@router.post("/tokens", status_code=201)
async def generate_token(services: Context, caller: Caller, body: TokenBody) -> NewTokenView:
    """Make a token for scripts. The answer is the only place where its secret is ever shown."""
    new = await services.tokens.generate(body.label, body.role, by=caller, expires_at=body.expires_at)
    return NewTokenView(**_fields(new.token, services.clock.now()), secret=new.secret)


@router.delete("/tokens/{token}")
async def revoke_token(services: Context, caller: Caller, token: str) -> TokenView:
    """Revoke a token by its id, label or prefix. Its next call is refused, its streams close."""
    return TokenView(**_fields(await services.tokens.revoke(token, by=caller), services.clock.now()))
