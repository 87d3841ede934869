"""What is left of deployments that ended."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from modelgrid.api.context import Context, Services
from modelgrid.api.paging import MarkText, mark_text, parse_mark
from modelgrid.config.model import REDACTED
from modelgrid.decide.classify import classify
from modelgrid.decide.log_level import level_of
from modelgrid.domain.deployment import Deployment, DeploymentState, Intent
from modelgrid.domain.engine import LogLine
from modelgrid.domain.errors import Ambiguous, NotFound
from modelgrid.domain.event import Level
from modelgrid.domain.history import HistoryRecord
from modelgrid.domain.ids import DeploymentId, slug
from modelgrid.domain.target import EngineSpec, Origin

router = APIRouter(tags=["deployments"])

MOST_NAMED = 10
SCANNED = 200
"""Records read at once while a filter looks for those it wants."""
OfModel = Annotated[str | None, Query(description="Id or alias of a model, or name of a target.")]


class LogLineView(BaseModel):
    number: int
    """Rises from line to line."""
    at: float
    stream: str
    level: Level
    text: str


class HistoryView(BaseModel):
    id: str
    target: str
    model: str
    origin: str
    node: str | None
    ended_at: float
    reason: str
    by: str
    state: DeploymentState
    spec: EngineSpec | None = None
    """How it was run, to deploy it so again; environment values are redacted. In lists null."""
    last_lines: list[LogLineView] = []


class HistoryList(BaseModel):
    items: list[HistoryView]
    next_before: str | None
    """For the next older page; null: there is none."""


@router.get("/history")
async def list_history(
    services: Context,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: MarkText = None,
    model: OfModel = None,
    node: str | None = None,
    origin: Origin | None = None,
) -> HistoryList:
    """Return deployments that ended, newest first, without their log lines. One that was started again is left out, and
    one that is being removed until that is done."""
    views: list[HistoryView] = []
    wanted = of_model(services, model)
    async for record in _records(services, before):
        item = record.deployment
        place = item.placement.node if item.placement else None
        fits = node in (None, place) and origin in (None, item.origin) and wanted(item)
        if not fits or _has_more_to_come(services, record):
            continue
        if len(views) == limit:
            return HistoryList(items=views, next_before=mark_text((views[-1].ended_at, views[-1].id)))
        views.append(history_view(services, record))
    return HistoryList(items=views, next_before=None)


@router.get("/history/{deployment}")
async def show_history(services: Context, deployment: str) -> HistoryView:
    """Return one ended deployment with its last log lines."""
    record = await record_of(services, deployment)
    view = history_view(services, record)
    return view.model_copy(update={"last_lines": kept_lines(record), "spec": redacted_spec(record.deployment.spec)})


def of_model(services: Services, model: str | None) -> Callable[[Deployment], bool]:
    """Return what tells deployments of a model, by its id or alias or the target's name; all are of `None`."""
    if model is None:
        return lambda _: True
    entry = services.catalog.find(model)
    names = {model, entry.id} if entry else {model}
    return lambda item: item.model in names or item.target in names


async def resolved(services: Services, text: str) -> tuple[DeploymentId, HistoryRecord | None]:
    """Return the id of the deployment that `text` names or begins, with its record where it has ended. Raises
    `NotFound`, and `Ambiguous` rather than to take the beginning of several for one that ended."""
    try:
        return services.registry.resolve(text).id, None
    except Ambiguous:
        raise
    except NotFound:
        record = await record_of(services, text)
        return record.deployment.id, record


async def record_of(services: Services, text: str) -> HistoryRecord:
    """Return what is kept of the ended deployment whose id is `text`, or the only one whose id begins as
    `registry.resolve` has it. Raises `NotFound`, naming the newest candidates when there are several."""
    try:
        return await services.store.history_record(text)
    except NotFound:
        begins = (text, slug(text)) if text else ()
        ids = [record.deployment.id async for record in _records(services, None)]
        matches = [item for item in ids if item.startswith(begins)]
        if len(matches) > 1:
            newest = ", ".join(matches[:MOST_NAMED])
            raise NotFound(
                f"{text!r} is the beginning of {len(matches)} deployments that ended.",
                fix=f"Name one, newest first: {newest}.",
            ) from None
        if not matches:
            raise
    return await services.store.history_record(matches[0])


async def _records(services: Services, before: str | None) -> AsyncIterator[HistoryRecord]:
    mark = parse_mark(before, "before") if before is not None else None
    while page := await services.store.history(limit=SCANNED, before=mark):
        for record in page:
            yield record
        mark = (page[-1].ended_at, page[-1].deployment.id)


def history_view(services: Services, record: HistoryRecord) -> HistoryView:
    item = record.deployment
    return HistoryView(
        id=item.id,
        target=item.target,
        model=item.model,
        origin=item.origin.value,
        node=item.placement.node if item.placement else None,
        ended_at=record.ended_at,
        reason=record.reason,
        by=record.by,
        state=classify(item, services.clock.now()).state,
    )


def redacted_spec(spec: EngineSpec) -> EngineSpec:
    """Return `spec` with the names of its environment and none of the values."""
    return replace(spec, env=dict.fromkeys(spec.env, REDACTED))


def kept_lines(record: HistoryRecord) -> list[LogLineView]:
    """Return the lines with their levels, which are not stored there."""
    lines, level = [], Level.INFO
    for number, line in enumerate(record.last_lines, start=1):
        level = level_of(line.text, level)
        lines.append(line_view(number, line, level))
    return lines


def line_view(number: int, line: LogLine, level: Level) -> LogLineView:
    return LogLineView(number=number, at=line.at, stream=line.stream, level=level, text=line.text)


def _has_more_to_come(services: Services, record: HistoryRecord) -> bool:
    present = services.registry.find(record.deployment.id)
    if present is None:
        return False
    state = classify(present, services.clock.now()).state
    return present.intent is Intent.REMOVE or state not in {DeploymentState.STOPPED, DeploymentState.FAILED}
