"""Targets and placements: what is desired, and where it landed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from modelgrid.api.context import ALLOWED, DECIDES, Caller, Context, Services
from modelgrid.api.deployments import DeploymentView, deployment_view
from modelgrid.api.history import redacted_spec
from modelgrid.api.preconditions import IfMatch, set_etag
from modelgrid.decide.classify import classify
from modelgrid.decide.pending_work import pending_work
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.gpu import GpuVendor
from modelgrid.domain.ids import GpuId, NodeName
from modelgrid.domain.node import Node
from modelgrid.domain.placement import Decision
from modelgrid.domain.target import Constraints, EngineSpec, Mount, RuntimeKind, Target
from modelgrid.services.targets import TargetRequest

router = APIRouter(tags=["targets"])


class TargetBody(BaseModel, extra="forbid"):
    """What is desired of a model. Whatever is left out takes the catalog's or the node's default."""

    replicas: int = Field(1, ge=0, le=64, strict=True)
    node: str | None = None
    vendor: GpuVendor | None = None
    labels: dict[str, str] = {}
    """Only on nodes that have all of these (`cluster.labels`)."""
    pack: bool = Field(False, strict=True)
    """Fill nodes and GPUs one after the other; otherwise instances are spread."""
    exclusive: bool = Field(False, strict=True)
    """Never more instances than desired, not even while the network is cut."""
    gpus: tuple[str, ...] = ()
    """Pinned GPUs of each instance."""
    gpu_count: int | None = Field(None, ge=0, le=64, strict=True)
    """GPUs per instance; 0 runs on the CPU."""
    context: int | None = Field(None, ge=1, strict=True)
    concurrency: int | None = Field(None, ge=1, strict=True)
    runtime: RuntimeKind | None = None
    image: str | None = None
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    trust_remote_code: bool = Field(False, strict=True)


class ScaleBody(BaseModel, extra="forbid"):
    """How many are desired. All else of the target stays as it is."""

    replicas: int = Field(ge=0, le=64)


class PreviewBody(TargetBody):
    model: str


class TargetView(BaseModel):
    name: str
    model: str
    replicas: int
    running: int
    """Deployments of it that answer."""
    origin: str
    spec: EngineSpec
    """Environment values are redacted."""
    constraints: Constraints
    created_at: float
    updated_at: float
    updated_by: str
    revision: int
    pending: tuple[str, ...]
    """What is still under way, in words: `+1 replica`, `-1 replica`, `moving worker-b → worker-a`."""
    deployments: list[DeploymentView]


class TargetList(BaseModel):
    items: list[TargetView]


class Preview(BaseModel):
    model: str
    decisions: tuple[Decision, ...]
    """One for each replica that would be new: where it would land, or every reason why it cannot."""


class PlacementCell(BaseModel):
    node: str
    deployment: str
    gpus: tuple[str, ...]
    state: str


class PlacementRow(BaseModel):
    model: str
    target: str
    replicas: int
    cells: list[PlacementCell]


class PlacementList(BaseModel):
    items: list[PlacementRow]


def to_request(model: str, body: TargetBody) -> TargetRequest:
    """Return what the body asks for."""
    return TargetRequest(
        model=model,
        replicas=body.replicas,
        spec=EngineSpec(
            runtime=body.runtime,
            image=body.image,
            args=body.args,
            env=body.env,
            gpu_count=body.gpu_count,
            gpus=tuple(GpuId(gpu) for gpu in body.gpus),
            context=body.context,
            concurrency=body.concurrency,
            mounts=body.mounts,
            trust_remote_code=body.trust_remote_code,
        ),
        constraints=Constraints(
            node=NodeName(body.node) if body.node else None,
            vendor=body.vendor,
            labels=body.labels,
            pack=body.pack,
            exclusive=body.exclusive,
        ),
    )


def by_target(services: Services) -> Mapping[str, Sequence[Deployment]]:
    """Return the deployments of each target, by its name."""
    found: defaultdict[str, list[Deployment]] = defaultdict(list)
    for item in services.registry.all():
        found[item.target].append(item)
    return found


def by_name(services: Services) -> Mapping[NodeName, Node]:
    """Return the nodes by name. Reading them costs a look at this machine: once for all targets."""
    return {node.name: node for node in services.nodes()}


def target_view(
    services: Services, target: Target, own: Sequence[Deployment], nodes: Mapping[NodeName, Node]
) -> TargetView:
    """Return what is shown of a target; `own` are its deployments, `nodes` all nodes."""
    views = [deployment_view(services, item) for item in own]
    return TargetView(
        name=target.name,
        model=target.model,
        replicas=target.replicas,
        running=sum(view.state == "running" for view in views),
        origin=target.origin.value,
        spec=redacted_spec(target.spec),
        constraints=target.constraints,
        created_at=target.created_at,
        updated_at=target.updated_at,
        updated_by=target.updated_by,
        revision=target.revision,
        pending=pending_work(target, own, nodes),
        deployments=sorted(views, key=lambda view: (view.created_at, view.id)),
    )


def _of_now(services: Services, target: Target) -> TargetView:
    own = [item for item in services.registry.all() if item.target == target.name]
    return target_view(services, target, own, by_name(services))


@router.get("/targets")
async def list_targets(services: Context) -> TargetList:
    """Return everything that is desired."""
    own, nodes = by_target(services), by_name(services)
    views = [target_view(services, item, own.get(item.name, ()), nodes) for item in services.targets.all()]
    return TargetList(items=views)


@router.post("/targets/preview", dependencies=[DECIDES])
async def preview_target(services: Context, body: PreviewBody) -> Preview:
    """Return what `PUT targets/{model}` would do, per GPU, without doing it."""
    entry = services.targets.entry_of(body.model)
    decisions = await services.preview.decisions(to_request(body.model, body))
    return Preview(model=entry.id, decisions=decisions)


@router.get("/targets/{model:path}")
async def show_target(services: Context, model: str, response: Response) -> TargetView:
    """Return one target, by its name or an alias of its model. Its ETag is its revision."""
    target = services.targets.get(model)
    set_etag(response, target.revision)
    return _of_now(services, target)


@router.put("/targets/{model:path}", dependencies=[DECIDES])
async def put_target(
    services: Context,
    caller: Caller,
    model: str,
    body: TargetBody,
    request: Request,
    response: Response,
    condition: IfMatch,
) -> TargetView:
    """Ensure a target. Repeating it changes nothing. Answers when it is accepted; deployments follow."""
    if body.trust_remote_code:
        request.scope[ALLOWED] = "trust_remote_code"
    expected = condition.revision(model, services.targets.revision(model)) if condition else None
    target = await services.targets.ensure(to_request(model, body), by=caller, expected_revision=expected)
    set_etag(response, target.revision)
    return _of_now(services, target)


@router.patch("/targets/{model:path}", dependencies=[DECIDES])
async def scale_target(
    services: Context, caller: Caller, model: str, body: ScaleBody, response: Response, condition: IfMatch
) -> TargetView:
    """Change the number of replicas, and nothing else: settings and sealed environment values stay."""
    expected = condition.revision(model, services.targets.revision(model)) if condition else None
    target = await services.targets.scale(model, body.replicas, by=caller, expected_revision=expected)
    set_etag(response, target.revision)
    return _of_now(services, target)


@router.delete("/targets/{model:path}", status_code=202, dependencies=[DECIDES])
async def delete_target(services: Context, caller: Caller, model: str, condition: IfMatch) -> TargetView:
    """Clear a target; its deployments drain and end after the answer."""
    expected = condition.revision(model, services.targets.revision(model)) if condition else None
    view = _of_now(services, services.targets.get(model))
    await services.targets.remove(model, by=caller, expected_revision=expected)
    return view


def placement_row(services: Services, target: Target, own: Sequence[Deployment]) -> PlacementRow:
    """Return where the deployments of a target are; `own` are these."""
    now = services.clock.now()
    cells = [
        PlacementCell(
            node=item.placement.node, deployment=item.id, gpus=item.placement.gpus, state=classify(item, now).state
        )
        for item in sorted(own, key=lambda item: (item.created_at, item.id))
        if item.placement is not None
    ]
    return PlacementRow(model=target.model, target=target.name, replicas=target.replicas, cells=cells)


@router.get("/placements")
async def list_placements(services: Context) -> PlacementList:
    """Return where every target's deployments are, grouped by target."""
    own = by_target(services)
    rows = [placement_row(services, item, own.get(item.name, ())) for item in services.targets.all()]
    return PlacementList(items=rows)
