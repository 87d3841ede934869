"""A cluster for tests of `reconcile`: facts, the application of effects to them, and engines that serve and go."""

from dataclasses import replace

from modelgrid.decide.effects import CreateDeployment, Effect, PlaceDeployment, RefuseDeployment, SetIntent
from modelgrid.decide.reconcile import reconcile
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.engine import EngineRef
from modelgrid.domain.gpu import Gpu, GpuInventory, GpuVendor
from modelgrid.domain.ids import DeploymentId, GpuId, ModelId, NodeName
from modelgrid.domain.model import Architecture, Capability, CatalogEntry
from modelgrid.domain.node import Node
from modelgrid.domain.placement import Placement
from modelgrid.domain.target import Origin, RuntimeKind, Target
from modelgrid.domain.units import GIB

MODEL = ModelId("org/model")
ENTRY = CatalogEntry(
    id=MODEL,
    capabilities=(Capability.CHAT,),
    parameters=8_000_000_000,
    dtype="bfloat16",
    context=131_072,
    default_context=8192,
    licence="mit",
    architecture=Architecture(
        weight_bytes=12 * GIB, layers=32, attention_heads=32, kv_heads=8, head_size=128, source="test"
    ),
)
NOW = 1_000.0


def gpu(index: int, gib: int = 24, used_gib: float = 0) -> Gpu:
    total, used = gib * GIB, int(used_gib * GIB)
    return Gpu(
        id=GpuId(f"nvidia-{index}"),
        vendor=GpuVendor.NVIDIA,
        index=index,
        uuid=f"GPU-{index}",
        name=f"Card {gib}G",
        vram_total_bytes=total,
        vram_used_bytes=used,
        vram_free_bytes=total - used,
    )


def node(name: str = "node-a", *gpus: Gpu, **facts: object) -> Node:
    return Node(
        name=NodeName(name),
        inventory=GpuInventory(taken_at=NOW - 1, gpus=gpus or (gpu(0), gpu(1))),
        memory_total_bytes=64 * GIB,
        memory_available_bytes=60 * GIB,
        runtimes=("docker",),
        **facts,  # type: ignore[arg-type]
    )


def target(replicas: int = 1, name: str = MODEL, **facts: object) -> Target:
    known: dict[str, object] = {"model": MODEL, "origin": Origin.API, "created_at": 1.0, "updated_at": 1.0, **facts}
    return Target(name=name, replicas=replicas, **known)  # type: ignore[arg-type]


class Cluster:
    """Facts, and the application of effects to them."""

    def __init__(self, *nodes: Node, targets: tuple[Target, ...] = ()) -> None:
        self.nodes = list(nodes)
        self.targets = list(targets)
        self.deployments: dict[str, Deployment] = {}
        self.created = 0
        self.now = NOW

    def decide(self) -> tuple[Effect, ...]:
        entries = {MODEL: ENTRY}
        deployments = list(self.deployments.values())
        return reconcile(self.targets, deployments, self.nodes, entries, RuntimeKind.DOCKER, self.now)

    def read(self) -> None:
        """The devices are read once more."""
        self.now += 1
        self.nodes = [replace(n, inventory=replace(n.inventory, taken_at=self.now)) for n in self.nodes]
        self.now += 1

    def settle(self) -> tuple[Effect, ...]:
        """Decide, apply, and see that nothing is left to decide."""
        effects = self.decide()
        for effect in effects:
            self._apply(effect)
        assert self.decide() == ()
        return effects

    def _apply(self, effect: Effect) -> None:
        match effect:
            case CreateDeployment():
                number = self.created
                self.created += 1
                new = Deployment(
                    id=DeploymentId(f"d{number}"),
                    target=effect.target,
                    model=effect.model,
                    origin=effect.origin,
                    spec=effect.spec,
                    runtime=effect.runtime,
                    created_at=self.now + number / 1000,
                )
                self.deployments[new.id] = new
                self._land(new.id, effect.decision)
            case PlaceDeployment() | RefuseDeployment():
                self._land(effect.deployment_id, effect.decision)
            case SetIntent():
                self.change(effect.deployment_id, intent=effect.intent, intent_reason=effect.reason)

    def _land(self, name: str, decision) -> None:  # type: ignore[no-untyped-def]
        if decision.node is None:
            self.change(name, refusal=decision)
        else:
            place = Placement(node=decision.node, gpus=decision.gpus, decision=decision, placed_at=NOW)
            self.change(name, placement=place, refusal=None)

    def change(self, name: str, **changes: object) -> None:
        self.deployments[name] = replace(self.deployments[name], **changes)  # type: ignore[arg-type]

    def serve(self, name: str) -> None:
        """The engine of a deployment starts, is ready, and the device shows its memory."""
        ref = EngineRef(
            runtime=RuntimeKind.DOCKER, id=name, deployment=DeploymentId(name), attempt=1, url="http://127.0.0.1:1"
        )
        now = self.now
        self.change(name, attempt=1, pulled_at=now, started_at=now, ready_at=now, engine=ref)
        self._use(name, +1)
        self.read()

    def gone(self, name: str) -> None:
        """A dismissed deployment has ended and its row is history."""
        if self.deployments[name].engine is not None:
            self._use(name, -1)
        del self.deployments[name]

    def _use(self, name: str, sign: int) -> None:
        place = self.deployments[name].placement
        assert place is not None
        size = sign * place.decision.need.per_gpu_bytes
        self.nodes = [
            replace(
                node,
                inventory=replace(
                    node.inventory,
                    gpus=tuple(
                        replace(g, vram_free_bytes=g.vram_free_bytes - size, vram_used_bytes=g.vram_used_bytes + size)
                        if node.name == place.node and g.id in place.gpus
                        else g
                        for g in node.inventory.gpus
                    ),
                ),
            )
            for node in self.nodes
        ]

    def node(self, name: str, **facts: object) -> None:
        """Something about a node changes."""
        self.nodes = [replace(n, **facts) if n.name == name else n for n in self.nodes]  # type: ignore[arg-type]

    def place_of(self, name: str) -> tuple[str, tuple[str, ...]] | None:
        place = self.deployments[name].placement
        return (place.node, place.gpus) if place else None


def removed(effects: tuple[Effect, ...]) -> dict[str, str]:
    return {e.deployment_id: e.reason for e in effects if isinstance(e, SetIntent) and e.intent is Intent.REMOVE}


def kinds(effects: tuple[Effect, ...]) -> list[str]:
    return [type(effect).__name__ for effect in effects]
