"""Nodes, GPUs and drivers."""

from collections import defaultdict
from collections.abc import Collection
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from modelgrid.api.context import DECIDES, Caller, Context, Services
from modelgrid.api.preconditions import IfMatch, set_etag
from modelgrid.decide.gpu_health import GpuFault, gpu_faults
from modelgrid.decide.gpu_share import memory_share
from modelgrid.domain.errors import NotFound
from modelgrid.domain.gpu import DriverReport, Gpu
from modelgrid.domain.node import Node, NodeLiveness, NodeRole, NodeStatus

router = APIRouter(tags=["nodes"])


class NodeView(BaseModel):
    name: str
    role: NodeRole
    status: NodeStatus
    liveness: NodeLiveness
    advertise_url: str
    heartbeat_at: float
    gpus: int
    gpu_models: tuple[str, ...]
    vram_total_bytes: int
    vram_free_bytes: int
    memory_total_bytes: int
    memory_available_bytes: int
    runtimes: tuple[str, ...]
    labels: dict[str, str]
    version: str
    simulated: bool
    inventory_stale: bool
    problem: str
    """Why nothing is placed there, or why its inventory may be old; empty when all is well."""
    note: str
    """What is to be mended in time, such as a version that is behind."""
    connections: int
    """Open connections of clients to its gateways, as it said last."""
    deployments_when_drained: int | None
    """How many deployments were placed there when its draining began; null while it is not drained."""


class NodeList(BaseModel):
    items: list[NodeView]


class GpuView(BaseModel):
    id: str
    """`<node>/<GPU>`."""
    node: str
    gpu: Gpu
    stale: bool
    """The readings are old; `problem` says why."""
    problem: str
    faults: tuple[GpuFault, ...]
    """What is wrong with it, worst first; each is among the reasons of the verdict, too."""
    assigned_to: str | None
    """What `gpus.assignments` keeps it for."""
    deployments: list[str]
    used_by_deployments_bytes: int | None
    used_by_others_bytes: int | None
    """Both null where it cannot be told whose the memory in use is."""


class GpuList(BaseModel):
    items: list[GpuView]
    problem: str
    """Why the list may be incomplete, for example that the driver does not answer; empty when all is well."""
    simulated: bool


class DriverList(BaseModel):
    items: list[DriverReport]


def node_view(services: Services, node: Node) -> NodeView:
    """Return what is shown of a node."""
    control, own = services.control, node.name == services.node_name
    gateways = services.gateways() if own or control is None else control.gateways_of(node.name)
    gpus = node.inventory.gpus
    return NodeView(
        name=node.name,
        role=node.role,
        status=node.status,
        liveness=node.liveness,
        advertise_url=node.advertise_url,
        heartbeat_at=node.heartbeat_at,
        gpus=len(gpus),
        gpu_models=tuple(sorted({gpu.name for gpu in gpus})),
        vram_total_bytes=sum(gpu.vram_total_bytes for gpu in gpus),
        vram_free_bytes=sum(gpu.vram_free_bytes for gpu in gpus),
        memory_total_bytes=node.memory_total_bytes,
        memory_available_bytes=node.memory_available_bytes,
        runtimes=node.runtimes,
        labels=dict(node.labels),
        version=node.version,
        simulated=any(gpu.simulated for gpu in gpus) or node.runtimes == ("simulated",),
        inventory_stale=node.inventory.stale,
        problem=node.problem or node.inventory.problem,
        note=control.note_of(node.name) if control is not None else "",
        connections=sum(report.connections for report in gateways),
        deployments_when_drained=services.node_status.placed_when_drained(node.name),
    )


def find_node(services: Services, name: str) -> Node:
    for node in services.nodes():
        if node.name == name:
            return node
    raise NotFound(f"There is no node {name!r}.", fix="`modelgrid cluster nodes` lists them.")


@router.get("/nodes")
async def list_nodes(services: Context) -> NodeList:
    """Return the nodes with what they have and how they are."""
    return NodeList(items=[node_view(services, node) for node in services.nodes()])


@router.get("/nodes/{name}")
async def show_node(services: Context, name: str, response: Response) -> NodeView:
    """Return one node. Its ETag names its status, which is what can be changed."""
    node = find_node(services, name)
    set_etag(response, node.status.value)
    return node_view(services, node)


@router.post("/nodes/{name}/{action}", dependencies=[DECIDES])
async def act_on_node(
    services: Context,
    caller: Caller,
    name: str,
    action: Literal["cordon", "drain", "activate"],
    response: Response,
    condition: IfMatch,
) -> NodeView:
    """Cordon (nothing new lands), drain (and what runs moves away) or activate a node."""
    find_node(services, name)
    status = {"cordon": NodeStatus.CORDONED, "drain": NodeStatus.DRAINING, "activate": NodeStatus.ACTIVE}[action]
    expected = condition.etags if condition else None
    await services.node_status.set(name, status, by=caller, placed=services.registry.placed_on(name), expected=expected)
    set_etag(response, status.value)
    return node_view(services, find_node(services, name))


def gpu_views(services: Services) -> list[GpuView]:
    """Return every GPU of every node, with the deployments on it."""
    users: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    known = {item.id for item in services.registry.all()}
    for item in services.registry.all():
        if item.placement is not None:
            for gpu_id in item.placement.gpus:
                users[item.placement.node, gpu_id].append(item.id)
    return [
        _gpu_view(node, gpu, sorted(users[node.name, gpu.id]), known)
        for node in services.nodes()
        for gpu in node.inventory.gpus
    ]


def _gpu_view(node: Node, gpu: Gpu, placed: list[str], known: Collection[str]) -> GpuView:
    ours, others = memory_share(gpu, placed, known)
    return GpuView(
        id=f"{node.name}/{gpu.id}",
        node=node.name,
        gpu=gpu,
        stale=node.inventory.stale,
        problem=node.inventory.problem,
        faults=gpu_faults(gpu),
        assigned_to=node.assignments.get(gpu.id),
        deployments=placed,
        used_by_deployments_bytes=ours,
        used_by_others_bytes=others,
    )


@router.get("/gpus")
async def list_gpus(services: Context) -> GpuList:
    """Return every GPU with its newest reading and the deployments on it."""
    problems, simulated = [], False
    for node in services.nodes():
        if node.inventory.problem:
            problems.append(f"{node.name}: {node.inventory.problem}")
        simulated = simulated or any(gpu.simulated for gpu in node.inventory.gpus)
    return GpuList(items=gpu_views(services), problem="; ".join(problems), simulated=simulated)


@router.get("/drivers")
async def list_drivers(services: Context) -> DriverList:
    """Return what is installed per GPU vendor, with known faults and what mends them."""
    return DriverList(items=list(await services.drivers.reports()))
