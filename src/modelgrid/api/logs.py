"""The log of everything: `modelgrid logs`."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from modelgrid.api.context import Context
from modelgrid.api.events import Cursor
from modelgrid.domain.errors import NotFound
from modelgrid.domain.event import Level
from modelgrid.domain.log import DAEMON, GATEWAY, SCHEDULER, LogRecord, deployment_source
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


class LogSource(BaseModel):
    source: str
    node: str
    """Whose log it is in: ask with both, `GET logs?source=…&node=…`."""


class LogSourceList(BaseModel):
    items: list[LogSource]


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
    node: Annotated[str | None, Query(max_length=253, description="Whose log; default: of the node asked.")] = None,
    format: Literal["json", "ndjson"] = "json",
) -> LogRecordList | StreamingResponse:
    """Return log records, oldest first: the last `limit` that are wanted, or with `after` the first ones that follow.

    Every node has a log of its own; a control plane asks the `node`, and the node of a single deployment as `source`.
    `format=ndjson` streams all that are wanted, one JSON object per line, with no limit."""
    if node not in {None, services.node_name}:  # a member would have been asked
        raise NotFound(f"There is no node {node!r}.", fix="GET nodes lists them.")
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


@router.get("/logs/sources")
async def list_log_sources(services: Context) -> LogSourceList:
    """Return who writes to the logs of the nodes: each node's own processes, and the engines that it runs."""
    nodes = sorted(str(node.name) for node in services.nodes())
    own = [(source, node) for node in nodes for source in (DAEMON, SCHEDULER, GATEWAY)]
    engines = [(deployment_source(item.id), item.placement.node) for item in services.registry.all() if item.placement]
    return LogSourceList(items=[LogSource(source=source, node=node) for source, node in (*own, *engines)])


async def _export(logs: LogStore, wanted: LogFilter, after: int, before: int | None) -> AsyncIterator[bytes]:
    """Yield everything that is wanted up to now. Reads page by page, as fast as it is fetched."""
    end = before or logs.next_seq
    while after < end - 1:
        page = await logs.following(after, EXPORT_PAGE, wanted)
        lines = [_encode(record) for record in page.records if record.seq < end]
        if lines:
            yield b"\n".join([*lines, b""])
        after = page.reached
