"""The log of everything: `modelgrid logs`."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from modelgrid.api.context import Context
from modelgrid.api.events import Cursor
from modelgrid.domain.event import Level
from modelgrid.domain.log import LogRecord
from modelgrid.domain.log_filter import LogFilter
from modelgrid.services.logs.search import searcher
from modelgrid.services.logs.store import LogStore

router = APIRouter(tags=["logs"])

EXPORT_PAGE = 2_000
_encode = msgspec.json.Encoder().encode

Grep = Annotated[str | None, Query(max_length=1000, description="Regular expression in RE2's syntax.")]
LeastLevel = Annotated[Level, Query(description="The least severe level.")]
Moment = Annotated[float | None, Query(ge=0, le=1e11, description="Unix seconds.")]


class LogRecordView(BaseModel):
    seq: int
    """Rises from record to record, over restarts too."""
    at: float
    source: str
    """`daemon`, `scheduler`, `gateway` or `deployment:<id>`."""
    level: Level
    message: str
    """As it was written: engines may put terminal escapes into it."""
    fields: dict[str, Any]


class LogRecordList(BaseModel):
    items: list[LogRecordView]
    """Oldest first."""
    next_after: int
    """Cursor: `after` for what comes next."""
    next_before: int
    """Cursor: `before` for what was earlier; 0 when there is nothing earlier."""
    complete: bool
    """False: a long search was broken off; go on from the cursor."""


def record_view(record: LogRecord) -> LogRecordView:
    return LogRecordView(
        seq=record.seq,
        at=record.at,
        source=record.source,
        level=record.level,
        message=record.message,
        fields=dict(record.fields),
    )


@router.get("/logs", responses={200: {"content": {"application/x-ndjson": {}}}}, response_model=LogRecordList)
async def list_logs(
    services: Context,
    source: Annotated[
        list[str] | None,
        Query(max_length=64, description="`daemon`, `scheduler`, `gateway`, `deployment` (all) or `deployment:<id>`."),
    ] = None,
    level: LeastLevel = Level.DEBUG,
    grep: Grep = None,
    since: Moment = None,
    until: Moment = None,
    after: Cursor | None = None,
    before: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    wait: Annotated[float, Query(ge=0, le=30, description="With `after`: seconds to wait for a record.")] = 0,
    format: Literal["json", "ndjson"] = "json",
) -> LogRecordList | StreamingResponse:
    """Return log records, oldest first: the last `limit` that are wanted, or with `after` the first ones that follow.

    `format=ndjson` streams all that are wanted, one JSON object per line, with no limit."""
    wanted = LogFilter(
        sources=frozenset(source) if source else None,
        level=level,
        since=since,
        until=until,
        found_in=searcher(grep) if grep else None,
    )
    if format == "ndjson":
        return StreamingResponse(
            _export(services.logs, wanted, after or 0, before),
            media_type="application/x-ndjson",
            headers={"Content-Disposition": 'attachment; filename="modelgrid-logs.ndjson"'},
        )
    if after is not None:
        page = await services.logs.following(after, limit, wanted, wait_seconds=wait)
        earlier = page.records[0].seq if page.records else after + 1
        return LogRecordList(
            items=[record_view(r) for r in page.records],
            next_after=page.reached,
            next_before=earlier,
            complete=page.complete,
        )
    newest = services.logs.next_seq - 1
    page = await services.logs.last(limit, wanted, before)
    return LogRecordList(
        items=[record_view(r) for r in page.records],
        next_after=page.records[-1].seq if page.records and before else newest,
        next_before=page.reached,
        complete=page.complete,
    )


async def _export(logs: LogStore, wanted: LogFilter, after: int, before: int | None) -> AsyncIterator[bytes]:
    """Yield everything that is wanted up to now. Reads page by page, as fast as it is fetched."""
    end = before or logs.next_seq
    while after < end - 1:
        page = await logs.following(after, EXPORT_PAGE, wanted)
        lines = [_encode(record) for record in page.records if record.seq < end]
        if lines:
            yield b"\n".join([*lines, b""])
        after = page.reached
