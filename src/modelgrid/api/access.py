"""API keys, clients and users."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from modelgrid.api.context import DECIDES, Caller, Context
from modelgrid.api.paging import MarkText, MostRows, page_after
from modelgrid.api.sessions import Password
from modelgrid.domain.access import ApiKey, KeyLimits
from modelgrid.services.accounts import SHORTEST_PASSWORD

router = APIRouter(tags=["access"])

LARGEST_LIMIT = 1_000_000_000
"""Per minute or at once. Gateways take 64 bits; nobody means more than this."""
LATEST = 253_402_300_799
"""The last second of the year 9999, the latest that a date can show."""


KeyStatus = Literal["active", "expired", "revoked"]


class ApiKeyView(BaseModel):
    id: str
    label: str
    prefix: str
    created_at: float
    expires_at: float | None
    last_used_at: float | None
    revoked_at: float | None
    status: KeyStatus
    scope: str
    """`all`, or the models it may use."""


class NewApiKey(ApiKeyView):
    secret: str
    """Shown this once, never again."""


class ApiKeyList(BaseModel):
    items: list[ApiKeyView]
    next_after: str | None
    """For the next page; null: there is none."""


class ApiKeyBody(BaseModel, extra="forbid"):
    label: str = Field(min_length=1, max_length=100, description="Printable: who or what uses the key.")
    expires_at: float | None = Field(
        None, ge=0, le=LATEST, strict=True, description="Unix seconds; null: does not expire."
    )
    models: tuple[str, ...] | None = Field(None, description="Models it may use; null: all.")
    requests_per_minute: int | None = Field(None, ge=1, le=LARGEST_LIMIT, strict=True)
    tokens_per_minute: int | None = Field(None, ge=1, le=LARGEST_LIMIT, strict=True)
    concurrent_requests: int | None = Field(None, ge=1, le=LARGEST_LIMIT, strict=True)


class ClientList(BaseModel):
    """The slot of Access ▸ Clients."""

    items: list[str] = Field(max_length=0)
    """Nothing, as long as clients cannot be configured."""
    configured: Literal[False] = False
    message: str
    """What the console says in its place."""


class PasswordBody(BaseModel, extra="forbid"):
    password: Password = Field(description=f"At least {SHORTEST_PASSWORD} characters.")


def _fields(key: ApiKey, now: float) -> dict[str, Any]:
    expired = key.expires_at is not None and key.expires_at <= now
    return {
        "id": key.id,
        "label": key.label,
        "prefix": key.prefix,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
        "status": "revoked" if key.revoked_at else "expired" if expired else "active",
        "scope": "all" if key.limits.models is None else ", ".join(key.limits.models),
    }


def api_key_view(key: ApiKey, now: float) -> ApiKeyView:
    """Return what is shown of a key: never its secret."""
    return ApiKeyView(**_fields(key, now))


@router.get("/apikeys")
async def list_api_keys(
    services: Context, status: KeyStatus | None = None, limit: MostRows = 5_000, after: MarkText = None
) -> ApiKeyList:
    """Return API keys, oldest first, without their secrets; revoked ones, too."""
    now = services.clock.now()
    views = [api_key_view(key, now) for key in services.keys.all()]
    fitting = [view for view in views if status in (None, view.status)]
    page, following = page_after(fitting, lambda view: (view.created_at, view.id), limit, after)
    return ApiKeyList(items=page, next_after=following)


@router.post("/apikeys", status_code=201, dependencies=[DECIDES])
async def generate_api_key(services: Context, caller: Caller, body: ApiKeyBody) -> NewApiKey:
    """Make a key for the gateway. The answer is the only place where its secret is ever shown."""
    limits = KeyLimits(
        models=body.models,
        requests_per_minute=body.requests_per_minute,
        tokens_per_minute=body.tokens_per_minute,
        concurrent_requests=body.concurrent_requests,
    )
    new = await services.keys.generate(body.label, by=caller, expires_at=body.expires_at, limits=limits)
    return NewApiKey(**_fields(new.key, services.clock.now()), secret=new.secret)


@router.delete("/apikeys/{key}", dependencies=[DECIDES])
async def revoke_api_key(services: Context, caller: Caller, key: str) -> ApiKeyView:
    """Revoke a key by its id, label or prefix. Gateways refuse it from then on."""
    return api_key_view(await services.keys.revoke(key, by=caller), services.clock.now())


@router.get("/clients")
async def list_clients() -> ClientList:
    """Per-consumer limits and labels are not configured yet; the slot is reserved."""
    return ClientList(items=[], message="not yet configured")


@router.put("/users/{name}/password", status_code=204)
async def set_password(services: Context, caller: Caller, name: str, body: PasswordBody) -> None:
    """Give a user a new password."""
    await services.accounts.set_password(name, body.password, by=caller)
