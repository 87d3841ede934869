"""Deployments: `modelgrid container …`."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from modelgrid.api.context import DECIDES, Caller, Context, Services
from modelgrid.api.events import Cursor, EventView, event_view
from modelgrid.api.history import LogLineView, OfModel, kept_lines, line_view, of_model, redacted_spec, resolved
from modelgrid.api.logs import Grep, LeastLevel, Moment
from modelgrid.api.paging import MarkText, MostRows, page_after
from modelgrid.decide.classify import classify
from modelgrid.domain.deployment import Deployment, DeploymentState, Failure
from modelgrid.domain.engine import PullProgress
from modelgrid.domain.event import Level, Subject
from modelgrid.domain.log import SEVERITY, deployment_source
from modelgrid.domain.log_filter import LogFilter
from modelgrid.domain.placement import Decision
from modelgrid.domain.target import EngineSpec, Origin
from modelgrid.services.logs.engine import as_line
from modelgrid.services.logs.search import searcher
from modelgrid.services.logs.store import LogPage as LogRecords

router = APIRouter(tags=["deployments"])


class DeploymentView(BaseModel):
    id: str
    target: str
    model: str
    origin: str
    state: DeploymentState
    reason: str
    """Why it is in this state, in one sentence."""
    runtime: str
    simulated: bool
    node: str | None
    gpus: tuple[str, ...]
    port: int | None
    engine_id: str | None
    """Container id, or `<pid>:<start time>` of a process."""
    engine_url: str | None
    attempt: int
    created_at: float
    started_at: float | None
    ready_at: float | None
    unhealthy_since: float | None
    intent: str
    intent_reason: str
    phase: str
    """What the engine says it does while it loads."""
    pull: PullProgress | None
    trouble: str
    """Why its state is not known at present; empty when it is."""
    requests_per_second: float | None
    """Through the gateways, at present; null while none reports."""
    error_ratio: float | None
    """Share of them that was answered with 5xx; null without requests."""


class DeploymentDetail(DeploymentView):
    spec: EngineSpec
    """Environment values are redacted."""
    decision: Decision | None
    """What placed it, or why it is not placed: every GPU with the numbers."""
    failures: tuple[Failure, ...]


class DeploymentList(BaseModel):
    items: list[DeploymentView]
    next_after: str | None
    """For the next page; null: there is none."""


class LogPage(BaseModel):
    items: list[LogLineView]
    next_after: int
    """Cursor: ask for lines after it."""


class EventPage(BaseModel):
    items: list[EventView]
    next_after: int


def deployment_view(services: Services, item: Deployment) -> DeploymentView:
    return DeploymentView(**_fields(services, item))


def _fields(services: Services, item: Deployment) -> dict[str, Any]:
    now = services.clock.now()
    classified = classify(item, now)
    live = services.live.of(item.id)
    flow = services.metrics.flow_of(item.id)
    decision = item.placement.decision if item.placement else item.refusal
    return {
        "id": item.id,
        "target": item.target,
        "model": item.model,
        "origin": item.origin.value,
        "state": classified.state,
        "reason": classified.reason,
        "runtime": item.runtime.value,
        "simulated": item.runtime.value == "simulated",
        "node": item.placement.node if item.placement else None,
        "gpus": item.placement.gpus if item.placement else (),
        "port": item.port,
        "engine_id": item.engine.id if item.engine else None,
        "engine_url": item.engine.url if item.engine else None,
        "attempt": item.attempt,
        "created_at": item.created_at,
        "started_at": item.started_at,
        "ready_at": item.ready_at,
        "unhealthy_since": item.unhealthy_since,
        "intent": item.intent.value,
        "intent_reason": item.intent_reason,
        "phase": live.phase or live.not_ready_because if classified.state is DeploymentState.STARTING else "",
        "pull": live.pull if classified.state is DeploymentState.PULLING else None,
        "trouble": live.trouble,
        "requests_per_second": flow.requests_per_second if flow else None,
        "error_ratio": flow.error_ratio if flow else None,
        "decision": decision,
    }


@router.get("/deployments")
async def list_deployments(
    services: Context,
    state: Annotated[list[DeploymentState] | None, Query(description="Repeatable.")] = None,
    model: OfModel = None,
    node: str | None = None,
    origin: Origin | None = None,
    limit: MostRows = 5_000,
    after: MarkText = None,
) -> DeploymentList:
    """Return the deployments, oldest first; with filters those that fit all of them."""
    now = services.clock.now()
    wanted = of_model(services, model)
    found = [
        item
        for item in services.registry.all()
        if wanted(item)
        and node in (None, item.placement.node if item.placement else None)
        and origin in (None, item.origin)
        and (not state or classify(item, now).state in state)
    ]
    page, following = page_after(found, lambda item: (item.created_at, item.id), limit, after)
    return DeploymentList(items=[deployment_view(services, item) for item in page], next_after=following)


@router.get("/deployments/{deployment}")
async def show_deployment(services: Context, deployment: str) -> DeploymentDetail:
    """Return one deployment; `deployment` may be the beginning of its id."""
    item = services.registry.resolve(deployment)
    return DeploymentDetail(**_fields(services, item), spec=redacted_spec(item.spec), failures=item.failures)


@router.post("/deployments/{deployment}/{action}", dependencies=[DECIDES])
async def act(
    services: Context, caller: Caller, deployment: str, action: Literal["start", "stop", "restart"]
) -> DeploymentView:
    """Start, stop or restart a deployment. Returns at once; the state tells how far it is."""
    item = services.registry.resolve(deployment)
    verb = {"start": services.actions.start, "stop": services.actions.stop, "restart": services.actions.restart}[action]
    return deployment_view(services, await verb(item.id, by=caller))


@router.delete("/deployments/{deployment}", status_code=202, dependencies=[DECIDES])
async def remove_deployment(services: Context, caller: Caller, deployment: str) -> DeploymentView:
    """Drain, stop and remove a deployment; its target wants one replica less. Goes on after the answer."""
    item = services.registry.resolve(deployment)
    return deployment_view(services, await services.actions.remove(item.id, by=caller))


@router.get("/deployments/{deployment}/logs")
async def deployment_logs(
    services: Context,
    deployment: str,
    after: Cursor | None = None,
    tail: Annotated[int, Query(ge=0, le=5000)] = 500,
    wait: Annotated[float, Query(ge=0, le=30)] = 0,
    level: LeastLevel = Level.DEBUG,
    grep: Grep = None,
    since: Moment = None,
) -> LogPage:
    """Return the last `tail` lines; with `after` those that follow it, waiting up to `wait` seconds for one.

    A deployment that is gone answers with what the log still has of it, at least the lines kept in its history."""
    name, record = await resolved(services, deployment)
    wanted = LogFilter(
        sources=frozenset({deployment_source(name)}),
        level=level,
        since=since,
        found_in=searcher(grep) if grep else None,
    )
    newest = services.logs.next_seq - 1
    if after is not None:
        page = await services.logs.following(after, 5000, wanted, wait_seconds=0 if record else wait)
        return LogPage(items=[line_view(r.seq, as_line(r), r.level) for r in page.records], next_after=page.reached)
    page = await services.logs.last(tail, wanted) if tail else LogRecords(records=(), reached=newest)
    items = [line_view(r.seq, as_line(r), r.level) for r in page.records]
    if record is not None and not items and tail:
        items = [line for line in kept_lines(record) if _wants(wanted, line)][-tail:]
    return LogPage(items=items, next_after=newest)


@router.get("/deployments/{deployment}/events")
async def deployment_events(
    services: Context,
    deployment: str,
    after: Cursor = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> EventPage:
    """Return the timeline, oldest first; also of a deployment that is gone."""
    subject_id, _ = await resolved(services, deployment)
    found = await services.store.events(subject=Subject.DEPLOYMENT, subject_id=subject_id, after=after, limit=limit)
    return EventPage(items=[event_view(event) for event in found], next_after=found[-1].seq if found else after)


def _wants(wanted: LogFilter, line: LogLineView) -> bool:
    return (
        SEVERITY[line.level] >= SEVERITY[wanted.level]
        and (wanted.since is None or line.at >= wanted.since)
        and (wanted.found_in is None or wanted.found_in(line.text))
    )
