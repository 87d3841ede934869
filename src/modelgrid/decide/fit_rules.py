"""What may be placed where: the request, and the ordered rules that judge each node and each GPU for it. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from modelgrid.decide.need import device_need, exceeds_device, footprint, is_exclusive
from modelgrid.decide.promises import Promise
from modelgrid.domain.gpu import Gpu
from modelgrid.domain.ids import GpuId, ModelId, NodeName
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.node import Node, NodeLiveness, NodeStatus
from modelgrid.domain.placement import MemoryNeed, Verdict
from modelgrid.domain.target import Constraints, EngineSpec, RuntimeKind
from modelgrid.domain.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRequest:
    """What is to be placed: one instance."""

    target: str
    model: ModelId
    entry: CatalogEntry | None
    """`None`: the model is not in the catalog, and takes a whole device."""
    spec: EngineSpec = field(default_factory=EngineSpec)
    constraints: Constraints = field(default_factory=Constraints)
    runtime: RuntimeKind
    spread: Mapping[NodeName, int] = field(default_factory=dict)
    """Instances of the same target by node: the node with the fewest is preferred."""
    spread_gpus: Mapping[tuple[NodeName, GpuId], int] = field(default_factory=dict)
    """Instances of the same target by GPU, likewise."""

    @property
    def names(self) -> tuple[str, ...]:
        """What `gpus.assignments` may call it."""
        return (self.target, self.model, *(self.entry.names if self.entry else ()))


def runtime_on(spec: EngineSpec, node: Node, default: RuntimeKind) -> RuntimeKind:
    """Return the runtime that an instance gets on `node`: the one asked for, or else the node's own. `default` is for
    nodes that name none."""
    if spec.runtime is not None:
        return spec.runtime
    if spec.url:
        return RuntimeKind.EXTERNAL
    return RuntimeKind(node.default_runtime) if node.default_runtime else default


# --- 1. nodes that may not be used


@dataclass(frozen=True, slots=True)
class NodeRule:
    """One reason to take nothing of a node."""

    code: str
    applies: Callable[[FitRequest, Node], bool]
    reason: Callable[[FitRequest, Node], str]


def _labels(request: FitRequest) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(request.constraints.labels.items()))


_NODE_RULES: tuple[NodeRule, ...] = (
    NodeRule(
        "other_node",
        lambda request, node: request.constraints.node not in (None, node.name),
        lambda request, _: f"is not the node asked for, {request.constraints.node}",
    ),
    NodeRule("node_lost", lambda _, node: node.liveness is NodeLiveness.LOST, lambda *_: "is lost"),
    NodeRule("node_suspect", lambda _, node: node.liveness is NodeLiveness.SUSPECT, lambda *_: "is suspect"),
    NodeRule("node_draining", lambda _, node: node.status is NodeStatus.DRAINING, lambda *_: "is draining"),
    NodeRule("node_cordoned", lambda _, node: node.status is NodeStatus.CORDONED, lambda *_: "is cordoned"),
    NodeRule("node_problem", lambda _, node: bool(node.problem), lambda _, node: f"takes nothing new: {node.problem}"),
    NodeRule(
        "label_mismatch",
        lambda request, node: any(node.labels.get(key) != value for key, value in request.constraints.labels.items()),
        lambda request, _: f"does not have the labels asked for, {_labels(request)}",
    ),
    NodeRule(
        "no_runtime",
        lambda request, node: (
            request.runtime is not RuntimeKind.EXTERNAL
            and runtime_on(request.spec, node, request.runtime) not in node.runtimes
        ),
        lambda request, node: f"has no working {runtime_on(request.spec, node, request.runtime)} runtime",
    ),
)


def closed_node(request: FitRequest, node: Node) -> NodeRule | None:
    """Return why nothing of the request may land on `node` at all; `None` when it may."""
    return next((rule for rule in _NODE_RULES if rule.applies(request, node)), None)


def closed_verdict(request: FitRequest, node: Node, rule: NodeRule) -> Verdict:
    return Verdict(node=node.name, code=rule.code, reason=f"{node.name} {rule.reason(request, node)}")


# --- 2. each GPU of the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One GPU as a place for one of the request's ranks."""

    request: FitRequest
    node: Node
    gpu: Gpu
    held: tuple[Promise, ...]
    takes: "Takes"
    available: int

    @property
    def need(self) -> MemoryNeed:
        return self.takes.need

    @property
    def needed(self) -> int:
        return self.takes.bytes

    @property
    def rule(self) -> "GpuRule":
        """The first rule that applies: why it will not do, or that it will."""
        for rule in _GPU_RULES:
            if rule.applies(self):
                return rule
        raise AssertionError("the last rule always applies")

    @property
    def runtime(self) -> RuntimeKind:
        """The runtime that the request gets on this node."""
        return runtime_on(self.request.spec, self.node, self.request.runtime)

    @property
    def leftover(self) -> int:
        return self.available - self.needed

    @property
    def assigned(self) -> bool:
        kept_for = self.node.assignments.get(self.gpu.id)
        return kept_for is not None and kept_for in self.request.names

    @property
    def alike(self) -> tuple[object, ...]:
        """GPUs are alike when these are equal: an engine over several GPUs takes like ones only."""
        return (self.node.name, self.gpu.vendor, self.gpu.name, self.gpu.simulated)

    @property
    def numbers(self) -> str:
        """`22.4 GiB free, 12.6 GiB of it promised, 17.6 GiB needed`."""
        promised = self.gpu.vram_free_bytes - self.available
        free, needed = format_bytes(self.gpu.vram_free_bytes), format_bytes(self.needed)
        text = (
            f"{free} free, " + (f"{format_bytes(promised)} of it promised, " if promised else "") + f"{needed} needed"
        )
        return f"{text}, {format_bytes(-self.leftover)} short" if self.leftover < 0 and free == needed else text

    def verdict(self, code: str, reason: str, *, chosen: bool = False) -> Verdict:
        return Verdict(
            node=self.node.name,
            gpu=self.gpu.id,
            chosen=chosen,
            free_bytes=self.gpu.vram_free_bytes,
            promised_bytes=self.gpu.vram_free_bytes - self.available,
            needed_bytes=self.needed,
            code=code,
            reason=reason,
        )


@dataclass(frozen=True, slots=True)
class GpuRule:
    """One reason to take a GPU or to leave it. Sentences are made only where somebody reads them."""

    code: str
    applies: Callable[[Look], bool]
    reason: Callable[[Look], str]


FITS = "fits"
"""Code of a GPU that no rule speaks against."""

_GPU_RULES: tuple[GpuRule, ...] = (
    GpuRule(
        "not_pinned",
        lambda look: bool(look.request.spec.gpus) and look.gpu.id not in look.request.spec.gpus,
        lambda look: f"not pinned; {listed(look.request.spec.gpus)} asked for",
    ),
    GpuRule(
        "other_vendor",
        lambda look: look.request.constraints.vendor not in (None, look.gpu.vendor),
        lambda look: f"a GPU of {look.gpu.vendor}; {look.request.constraints.vendor} asked for",
    ),
    GpuRule(
        "kept_for_another",
        lambda look: look.gpu.id in look.node.assignments and not look.assigned,
        lambda look: f"kept for {look.node.assignments[look.gpu.id]} by gpus.assignments",
    ),
    GpuRule(
        "gpu_simulated",
        lambda look: look.gpu.simulated and look.runtime is not RuntimeKind.SIMULATED,
        lambda look: f"simulated: an engine of the {look.runtime} runtime cannot use it",
    ),
    GpuRule("mig_enabled", lambda look: look.gpu.mig_enabled, lambda _: "MIG is enabled on it, which is not supported"),
    GpuRule(
        "inventory_stale",
        lambda look: look.node.inventory.stale,
        lambda look: f"its readings are old: {look.node.inventory.problem or 'the GPU probe failed'}",
    ),
    GpuRule(
        "taken_whole",
        lambda look: any(promise.exclusive for promise in look.held),
        lambda look: f"{next(promise.holder for promise in look.held if promise.exclusive)} takes the whole device",
    ),
    GpuRule(
        "not_empty",
        lambda look: bool(look.held) and is_exclusive(look.need),
        lambda look: f"the model takes a whole device and {listed(promise.holder for promise in look.held)} uses it",
    ),
    GpuRule(
        "larger_than_device",
        lambda look: look.takes.too_large,
        lambda look: f"{format_bytes(look.needed)} needed, {format_bytes(look.gpu.vram_total_bytes)} is all it has",
    ),
    GpuRule("too_little_memory", lambda look: look.leftover < 0, lambda look: look.numbers),
    GpuRule(FITS, lambda _: True, lambda look: look.numbers),
)


Judged = tuple[Look, GpuRule]
"""A look at a GPU and the rule that judges it."""


@dataclass(frozen=True, slots=True)
class Takes:
    """What one instance takes of one kind of device."""

    need: MemoryNeed
    bytes: int
    """What the engine is given."""
    too_large: bool
    """More than such a device could ever give."""


class Needs:
    """What one instance of a request takes, by size and kind of device: a cluster has many devices and few kinds."""

    def __init__(self, request: FitRequest) -> None:
        self._request = request
        self._known: dict[tuple[int, str, int], Takes] = {}

    def of(self, gpu: Gpu, count: int) -> Takes:
        """Return what each of `count` GPUs like `gpu` gives."""
        total = gpu.vram_total_bytes
        kind = (count, gpu.name, total)
        known = self._known.get(kind)
        if known is None:
            need = device_need(self._request.entry, self._request.spec, count, gpu)
            known = self._known[kind] = Takes(need, footprint(need, total), exceeds_device(need, total))
        return known


def listed(words: Iterable[str]) -> str:
    """Return `a`, `a and b` or `a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
