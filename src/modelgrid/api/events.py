"""Events: what happened, in order."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from modelgrid.api.context import Context
from modelgrid.domain.event import Event, Level, Subject

router = APIRouter(tags=["events"])

Cursor = Annotated[int, Query(ge=0, le=2**63 - 1)]
"""A sequence number that was given out before; the databases count to here."""


class EventView(BaseModel):
    seq: int
    at: float
    subject: Subject
    subject_id: str
    kind: str
    message: str
    level: Level
    by: str
    data: dict[str, Any]


class EventList(BaseModel):
    items: list[EventView]
    next_after: int
    """Ask for what comes later with it."""
    next_before: int | None
    """For the next older page; null: there is none."""


def event_view(event: Event) -> EventView:
    return EventView(
        seq=event.seq,
        at=event.at,
        subject=event.subject,
        subject_id=event.subject_id,
        kind=event.kind,
        message=event.message,
        level=event.level,
        by=event.by,
        data=dict(event.data),
    )


@router.get("/timeline")
async def list_events(
    services: Context,
    subject: Subject | None = None,
    subject_id: str | None = None,
    after: Cursor = 0,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    newest_first: bool = True,
) -> EventList:
    """Return stored events of everything, or of one subject, between two numbers."""
    found = await services.store.events(
        subject=subject, subject_id=subject_id, after=after, before=before, limit=limit, newest_first=newest_first
    )
    oldest = min((event.seq for event in found), default=0)
    more = newest_first and len(found) == limit and oldest > after + 1
    return EventList(
        items=[event_view(event) for event in found],
        next_after=max((event.seq for event in found), default=after),
        next_before=oldest if more else None,
    )
