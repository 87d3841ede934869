"""The audit log: a middleware that writes it, and the calls that read it."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelgrid.api.context import ALLOWED, CLAIMED, PRINCIPAL, Context, Services
from modelgrid.decide.audit import is_recorded
from modelgrid.domain.access import Principal
from modelgrid.domain.audit import AuditEntry

router = APIRouter(tags=["access"])

ANONYMOUS = "anonymous"


class AuditMiddleware:
    """Records calls before their answers leave. The outermost, so that refusals of the others are recorded, too."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def record_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._record(scope, message["status"])
            await send(message)

        await self._app(scope, receive, record_and_send)

    async def _record(self, scope: Scope, status: int) -> None:
        principal: Principal | None = scope.get(PRINCIPAL)
        given = "authorization" in Headers(scope=scope)
        known = principal is not None
        if not is_recorded(scope["method"], scope["path"], status, known=known, with_credential=given):
            return
        await self._services.audit.record(
            who=scope.get(CLAIMED) or (principal.name if principal else ANONYMOUS),
            kind=principal.kind if principal else "",
            source=scope["client"][0] if scope.get("client") else "",
            action=getattr(scope.get("route"), "name", scope["method"].lower()),
            target=f"{scope['path']} {allowed}" if (allowed := scope.get(ALLOWED)) else scope["path"],
            status=status,
        )


class AuditEntryView(BaseModel):
    seq: int
    at: float
    who: str
    kind: str
    source: str
    action: str
    target: str
    status: int
    repeated: int
    """Refused calls just like this one that were left out since the last entry of its kind."""
    hash: str


class AuditList(BaseModel):
    items: list[AuditEntryView]
    next_before: int | None
    """For the next older page; null: there is none."""


class AuditVerified(BaseModel):
    intact: bool
    entries: int
    """Entries that are there and as they were written, from the first."""
    pruned: int
    """Number of the newest of the oldest entries, which were let go of (`api.auditDays`, `api.auditEntries`); 0: none
    was."""
    broken_at: int | None
    """Number of the first entry that was changed or removed."""
    head: str
    """Hash of the newest good entry. Kept elsewhere, it shows later whether entries after it were removed."""


def _view(entry: AuditEntry) -> AuditEntryView:
    return AuditEntryView.model_validate(entry, from_attributes=True)


@router.get("/audit")
async def list_audit(
    services: Context,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    who: Annotated[str | None, Query(max_length=300)] = None,
    action: Annotated[str | None, Query(max_length=300)] = None,
) -> AuditList:
    """Return who did what, when, from where and with what result, newest first."""
    found = await services.audit.entries(before=before, limit=limit, who=who, action=action)
    more = len(found) == limit and found[-1].seq > 1
    return AuditList(items=[_view(entry) for entry in found], next_before=found[-1].seq if more else None)


@router.get("/audit/verify")
async def verify_audit(services: Context) -> AuditVerified:
    """Compute the chain of the whole audit log anew, and tell whether somebody changed it."""
    found = await services.audit.verify()
    return AuditVerified(
        intact=found.broken_at is None,
        entries=found.entries,
        pruned=found.pruned,
        broken_at=found.broken_at,
        head=found.head.hash if found.head else "",
    )
