"""Who holds which memory: what was given to deployments, whether or not a device shows it yet. Pure.

Two ledgers per device, and `available` is the smaller of what they leave:

* **measured**: free as read, less what was promised to deployments that the reading does not contain yet.
  It sees foreign processes, and lags behind;
* **booked**: total, less everything given to deployments that have a right to run there.
  It never lags: an engine that crashed keeps its place for the restart although the device shows it as free.

When a deployment holds its place (first match wins):

| # | facts | holds |
|---|---|---|
| 1 | no placement, removed, or runtime external | nothing |
| 2 | intent RUN, engine ready in this attempt, read by the inventory after that | its place, which is measured |
| 3 | intent RUN otherwise: pulling, loading, restarting, given up | its place, and all of it is promised |
| 4 | intent STOP or REMOVE with an engine | as 2 and 3, until the engine was seen to be gone |
| 5 | intent STOP or REMOVE, no engine, and its node has not said yet that nothing is there | its place, all promised |
| 6 | intent STOP or REMOVE, confirmed to be gone | nothing: whoever starts it again has it placed anew |

Rule 5 is for starts under way, and for nodes whose word lags behind or that are cut off: what they began, nobody knows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from modelgrid.decide.need import footprint, is_exclusive
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.gpu import Gpu
from modelgrid.domain.ids import GpuId, NodeName
from modelgrid.domain.node import Node
from modelgrid.domain.placement import MemoryNeed
from modelgrid.domain.target import RuntimeKind

Device = tuple[NodeName, GpuId | None]
"""A GPU of a node, or its host memory when the second is `None`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One deployment's place on one device."""

    holder: str
    """The deployment's id; the target's name for one that this pass is about to create."""
    bytes: int
    measured: bool
    """The node's latest reading contains it already."""
    exclusive: bool = False
    """It takes the whole device: nobody else may land there, however much is free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """All places held, by device."""

    by_device: Mapping[Device, tuple[Promise, ...]] = field(default_factory=dict)

    def on(self, node: NodeName, gpu: GpuId | None) -> tuple[Promise, ...]:
        return self.by_device.get((node, gpu), ())

    def available_bytes(self, node: Node, gpu: Gpu | None) -> int:
        """Return what may still be given away on a GPU of `node`, or of its host memory. Never negative."""
        return available_bytes(node, gpu, self.on(node.name, gpu.id if gpu else None))

    def without(self, holders: Iterable[str]) -> "Promises":
        """Return the promises as if `holders` had gone."""
        gone = set(holders)
        kept = {
            device: tuple(promise for promise in held if promise.holder not in gone)
            for device, held in self.by_device.items()
        }
        return Promises(by_device=kept)


def available_bytes(node: Node, gpu: Gpu | None, held: Iterable[Promise]) -> int:
    """Return what `held` leaves to give away on a GPU of `node`, or of its host memory. Never negative."""
    total = gpu.vram_total_bytes if gpu else node.memory_total_bytes
    free = gpu.vram_free_bytes if gpu else node.memory_available_bytes
    unmeasured = booked = 0
    for promise in held:
        booked += promise.bytes
        if not promise.measured:
            unmeasured += promise.bytes
    return max(0, min(free - unmeasured, total - booked))


def promises(deployments: Iterable[Deployment], nodes: Iterable[Node]) -> Promises:
    """Return what is held on the devices of `nodes`. The order of the arguments does not matter."""
    by_name = {node.name: node for node in nodes}
    by_device: dict[Device, tuple[Promise, ...]] = {}
    for deployment in sorted(deployments, key=lambda deployment: deployment.id):
        placement = deployment.placement
        if placement is None or not holds_place(deployment):
            continue
        node = by_name.get(placement.node)
        measured = node is not None and is_measured(deployment, node)
        here = node.inventory.gpus if node is not None else ()
        need, given = placement.decision.need, placement.gpus
        for device, promise in places(deployment.id, need, placement.node, given, here, measured=measured):
            by_device[device] = (*by_device.get(device, ()), promise)
    return Promises(by_device=by_device)


def holds_place(deployment: Deployment) -> bool:
    """Whether a deployment has, or may come to have, an engine on the devices it was placed on."""
    if deployment.placement is None or deployment.removed_at is not None:
        return False
    if deployment.runtime is RuntimeKind.EXTERNAL:
        return False
    if deployment.intent is Intent.RUN or deployment.engine is not None:
        return True
    return deployment.engine_gone_at is None


def is_measured(deployment: Deployment, node: Node) -> bool:
    """Whether the node's latest reading contains the memory of the deployment's engine (rule 2).

    All memory is taken before an engine is ready, so a reading from after that shows it whole. A `ready_at` of an
    attempt that has ended does not count."""
    ready_at = deployment.ready_at
    if deployment.engine is None or ready_at is None:
        return False
    if deployment.started_at is not None and deployment.started_at > ready_at:
        return False
    if deployment.failures and any(failure.exit.at >= ready_at for failure in deployment.failures):
        return False
    return read_at(deployment, node) > ready_at


def read_at(deployment: Deployment, node: Node) -> float:
    """Return when the devices that a deployment was placed on were last read. Host memory comes with heartbeats."""
    on_gpus = deployment.placement is not None and bool(deployment.placement.gpus)
    return node.inventory.taken_at if on_gpus else max(node.inventory.taken_at, node.heartbeat_at)


def places(
    holder: str,
    need: MemoryNeed,
    node: NodeName,
    given: Iterable[GpuId],
    gpus: Iterable[Gpu],
    *,
    measured: bool = False,
) -> list[tuple[Device, Promise]]:
    """Return what `holder` has on each of the GPUs that it was `given` on `node`, or of its host memory. `gpus` are all
    that the node has."""
    if need.gpu_count == 0:
        if not need.terms:
            return []
        return [((node, None), Promise(holder=holder, bytes=need.per_gpu_bytes, measured=measured))]
    totals = {gpu.id: gpu.vram_total_bytes for gpu in gpus}
    exclusive = is_exclusive(need)
    found: list[tuple[Device, Promise]] = []
    for gpu in given:
        size = footprint(need, totals[gpu]) if gpu in totals else need.per_gpu_bytes
        promise = Promise(holder=holder, bytes=size, measured=measured, exclusive=exclusive)
        found.append(((node, gpu), promise))
    return found
