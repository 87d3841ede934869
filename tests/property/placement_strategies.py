"""Worlds to place models in: hypothesis strategies of nodes, catalog entries and targets, and what applies effects."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from modelgrid.decide.effects import CreateDeployment, Effect, PlaceDeployment, RefuseDeployment, SetIntent
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.gpu import Gpu, GpuInventory, GpuVendor
from modelgrid.domain.ids import DeploymentId, GpuId, ModelId, NodeName
from modelgrid.domain.model import Architecture, Capability, CatalogEntry
from modelgrid.domain.node import Node, NodeLiveness, NodeStatus
from modelgrid.domain.placement import Decision, Placement
from modelgrid.domain.target import Constraints, EngineSpec, Origin, RuntimeKind, Target
from modelgrid.domain.units import GIB

DEVICES = (("Small 8G", 8), ("Card 24G", 24), ("Card 48G", 48), ("NVIDIA A100 80G", 80), ("Large 141G", 141))
NODE_NAMES = ("node-a", "node-b", "node-c")
MODELS = ("org/tiny", "org/middle", "org/large", "org/embed", "org/latent", "org/unknown")
LABELS = ("zone", "disk")


def _entry(name: str, gib: float, capability: Capability = Capability.CHAT, **facts: int) -> CatalogEntry:
    known: dict[str, int] = {"layers": 32, "attention_heads": 32, "kv_heads": 8, "head_size": 128, **facts}
    return CatalogEntry(
        id=ModelId(f"org/{name}"),
        capabilities=(capability,),
        parameters=int(gib * GIB / 2),
        dtype="bfloat16",
        context=131_072,
        default_context=8192,
        licence="apache-2.0",
        architecture=Architecture(weight_bytes=int(gib * GIB), source="made for tests", **known),  # type: ignore[arg-type]
    )


ENTRIES: Mapping[str, CatalogEntry] = {
    entry.id: entry
    for entry in (
        _entry("tiny", 0.5, layers=4, attention_heads=4, kv_heads=2, head_size=32),
        _entry("middle", 15),
        _entry("large", 60, layers=64, attention_heads=64),
        _entry("embed", 1, Capability.EMBEDDINGS, kv_layers=0),
        _entry("latent", 30, kv_latent_size=576),
    )
}
"""`org/unknown` is in no catalog."""


@st.composite
def gpus(draw: st.DrawFn, index: int, device: tuple[str, int]) -> Gpu:
    name, gib = device
    vendor = draw(st.sampled_from((GpuVendor.NVIDIA, GpuVendor.NVIDIA, GpuVendor.AMD)))
    foreign = draw(st.sampled_from((0, 0, GIB // 2, gib * GIB // 3)))
    return Gpu(
        id=GpuId(f"{vendor}-{index}"),
        vendor=vendor,
        index=index,
        uuid=f"GPU-{index}",
        name=name,
        vram_total_bytes=gib * GIB,
        vram_used_bytes=foreign,
        vram_free_bytes=gib * GIB - foreign,
        mig_enabled=draw(st.integers(0, 19)) == 0,
    )


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Node:
    count = draw(st.integers(0, 4))
    device = draw(st.sampled_from(DEVICES))
    mixed = draw(st.integers(0, 3)) == 0
    devices = [draw(st.sampled_from(DEVICES)) if mixed else device for _ in range(count)]
    found = tuple(draw(gpus(index, device)) for index, device in enumerate(devices))
    memory = draw(st.sampled_from((4, 16, 64))) * GIB
    return Node(
        name=NodeName(name),
        status=draw(st.sampled_from((*[NodeStatus.ACTIVE] * 6, NodeStatus.CORDONED, NodeStatus.DRAINING))),
        liveness=draw(st.sampled_from((*[NodeLiveness.READY] * 6, NodeLiveness.SUSPECT, NodeLiveness.LOST))),
        problem=draw(st.sampled_from((*[""] * 9, "its clock is off"))),
        labels=dict.fromkeys(draw(st.sets(st.sampled_from(LABELS))), "x"),
        inventory=GpuInventory(taken_at=0.0, gpus=found, stale=draw(st.integers(0, 9)) == 0),
        memory_total_bytes=memory,
        memory_available_bytes=memory - draw(st.sampled_from((0, GIB))),
        assignments={gpu.id: draw(st.sampled_from(MODELS)) for gpu in found if draw(st.integers(0, 9)) == 0},
        runtimes=draw(st.sampled_from((("docker",), ("docker",), ("docker", "process"), ()))),
    )


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Node, ...]:
    names = draw(st.lists(st.sampled_from(NODE_NAMES), unique=True, max_size=3))
    return tuple(draw(nodes(name)) for name in names)


@st.composite
def specs(draw: st.DrawFn) -> EngineSpec:
    pinned = draw(st.sampled_from(((), (), (), ("nvidia-0",), ("nvidia-1",), ("nvidia-0", "nvidia-1"))))
    return EngineSpec(
        gpu_count=draw(st.sampled_from((None, None, None, 0, 1, 2))) if not pinned else None,
        gpus=tuple(GpuId(gpu) for gpu in pinned),
        context=draw(st.sampled_from((None, None, 1024, 32_768))),
        concurrency=draw(st.sampled_from((None, None, 1, 16))),
        args=draw(st.sampled_from(((), (), ("--enforce-eager",), ("--kv-cache-dtype", "fp8")))),
        url=draw(st.sampled_from((*[None] * 9, "http://127.0.0.1:9000"))),
    )


@st.composite
def constraints(draw: st.DrawFn) -> Constraints:
    return Constraints(
        node=draw(st.sampled_from((*[None] * 6, NodeName("node-a"), NodeName("elsewhere")))),
        vendor=draw(st.sampled_from((*[None] * 4, GpuVendor.NVIDIA, GpuVendor.AMD))),
        labels=draw(st.sampled_from(({}, {}, {}, {"zone": "x"}))),
        pack=draw(st.booleans()),
        exclusive=draw(st.integers(0, 3)) == 0,
    )


@st.composite
def targets(draw: st.DrawFn, name: str, at: float = 0.0) -> Target:
    return Target(
        name=name,
        model=ModelId(draw(st.sampled_from(MODELS))),
        replicas=draw(st.integers(0, 3)),
        origin=Origin.API,
        spec=draw(specs()),
        constraints=draw(constraints()),
        created_at=at,
        updated_at=at,
    )


@dataclass
class World:
    """Stored facts, and the applier of effects: what the reconciler service does, without IO."""

    nodes: dict[NodeName, Node] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    deployments: dict[DeploymentId, Deployment] = field(default_factory=dict)
    now: float = 1.0
    created: int = 0

    def apply(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case CreateDeployment():
                    self._create(effect)
                case PlaceDeployment():
                    self._change(effect.deployment_id, **self._landed(effect.decision))
                case RefuseDeployment():
                    self._change(effect.deployment_id, refusal=effect.decision)
                case SetIntent():
                    self._change(effect.deployment_id, intent=effect.intent, intent_reason=effect.reason)

    def _create(self, effect: CreateDeployment) -> None:
        self.created += 1
        new = Deployment(
            id=DeploymentId(f"{effect.target}-{self.created:06d}"),
            target=effect.target,
            model=effect.model,
            origin=effect.origin,
            spec=effect.spec,
            runtime=effect.runtime,
            created_at=self.now,
        )
        self.deployments[new.id] = replace(new, **self._landed(effect.decision))

    def _landed(self, decision: Decision) -> dict[str, object]:
        if decision.node is None:
            return {"refusal": decision}
        placement = Placement(node=decision.node, gpus=decision.gpus, decision=decision, placed_at=self.now)
        return {"placement": placement, "refusal": None, "engine_gone_at": None}

    def _change(self, deployment: DeploymentId, **changes: object) -> None:
        self.deployments[deployment] = replace(self.deployments[deployment], **changes)  # type: ignore[arg-type]


def wanted(target: Target) -> RuntimeKind:
    return RuntimeKind.EXTERNAL if target.spec.url else RuntimeKind.DOCKER


def is_open(node: Node) -> bool:
    return node.status is NodeStatus.ACTIVE and node.liveness is NodeLiveness.READY and not node.problem


def not_removed(deployments: Iterable[Deployment], target: str) -> list[Deployment]:
    return [d for d in deployments if d.target == target and d.intent is not Intent.REMOVE]
