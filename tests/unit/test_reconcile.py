"""Reconciling: how many, which go first, rolling replacement, and that one pass is enough."""

from dataclasses import replace

import pytest

from modelgrid.decide.effects import CreateDeployment, Effect, PlaceDeployment, RefuseDeployment, SetIntent
from modelgrid.decide.reconcile import reconcile
from modelgrid.domain.deployment import Deployment, Failure, Intent
from modelgrid.domain.engine import EngineExit, EngineRef
from modelgrid.domain.gpu import Gpu, GpuInventory, GpuVendor
from modelgrid.domain.ids import DeploymentId, GpuId, ModelId, NodeName
from modelgrid.domain.model import Architecture, Capability, CatalogEntry
from modelgrid.domain.node import Node, NodeLiveness, NodeStatus
from modelgrid.domain.placement import Placement
from modelgrid.domain.target import Constraints, EngineSpec, Origin, RuntimeKind, Target
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

    def place_of(self, name: str) -> tuple[str, tuple[str, ...]] | None:
        place = self.deployments[name].placement
        return (place.node, place.gpus) if place else None


def removed(effects: tuple[Effect, ...]) -> dict[str, str]:
    return {e.deployment_id: e.reason for e in effects if isinstance(e, SetIntent) and e.intent is Intent.REMOVE}


def kinds(effects: tuple[Effect, ...]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


def test_creates_what_is_missing_and_each_sees_the_others():
    cluster = Cluster(node(), targets=(target(replicas=3),))
    effects = cluster.settle()
    assert kinds(effects) == ["CreateDeployment"] * 3
    assert {cluster.place_of("d0"), cluster.place_of("d1")} == {("node-a", ("nvidia-0",)), ("node-a", ("nvidia-1",))}
    third = cluster.deployments["d2"]
    assert third.placement is None
    assert third.refusal is not None
    assert third.refusal.summary.startswith("no GPU that may be used has ")
    assert {verdict.code for verdict in third.refusal.verdicts} == {"too_little_memory"}


def test_replicas_go_to_different_nodes_first():
    cluster = Cluster(node("node-a", gpu(0, 80)), node("node-b", gpu(0, 48)), targets=(target(replicas=2),))
    cluster.settle()
    assert {cluster.place_of("d0"), cluster.place_of("d1")} == {("node-a", ("nvidia-0",)), ("node-b", ("nvidia-0",))}


def test_pending_is_placed_when_there_is_room():
    cluster = Cluster(node("node-a", gpu(0, 24, used_gib=20)), targets=(target(),))
    cluster.settle()
    assert cluster.place_of("d0") is None
    cluster.nodes = [node("node-a", gpu(0))]
    assert kinds(cluster.settle()) == ["PlaceDeployment"]
    assert cluster.place_of("d0") == ("node-a", ("nvidia-0",))


def test_refusal_is_stored_anew_only_when_it_says_something_new():
    cluster = Cluster(node("node-a", gpu(0, 24, used_gib=20)), targets=(target(),))
    cluster.settle()
    cluster.nodes = [node("node-a", gpu(0, 24, used_gib=20.01))]
    assert cluster.decide() == ()
    cluster.nodes = [node("node-a", gpu(0, 24, used_gib=20), status=NodeStatus.CORDONED)]
    assert kinds(cluster.settle()) == ["RefuseDeployment"]
    refusal = cluster.deployments["d0"].refusal
    assert refusal is not None
    assert refusal.summary == "node-a is cordoned; `modelgrid cluster activate` opens it again"


def test_stopped_by_an_operator_is_not_replaced():
    cluster = Cluster(node(), targets=(target(),))
    cluster.settle()
    cluster.change("d0", intent=Intent.STOP)
    assert cluster.decide() == ()


def test_failed_is_not_replaced():
    cluster = Cluster(node(), targets=(target(),))
    cluster.settle()
    failures = tuple(Failure(attempt=n, exit=EngineExit(at=float(n), code=1)) for n in range(1, 9))
    cluster.change("d0", attempt=8, failures=failures)
    assert cluster.decide() == ()


def test_deleted_target_takes_its_deployments_along():
    cluster = Cluster(node(), targets=(target(replicas=2),))
    cluster.settle()
    cluster.targets = []
    assert removed(cluster.settle()) == {"d0": "no longer desired", "d1": "no longer desired"}


def test_deployment_on_a_lost_node_is_left():
    cluster = Cluster(node("node-a", gpu(0)), node("node-b", gpu(0)), targets=(target(),))
    cluster.settle()
    cluster.serve("d0")
    cluster.nodes = [replace(n, liveness=NodeLiveness.LOST) if n.name == "node-a" else n for n in cluster.nodes]
    assert cluster.decide() == ()


@pytest.mark.parametrize("worst", ["unplaced", "stopped", "failed", "loading", "newest"])
def test_surplus_goes_in_the_order_of_worth(worst):
    ranks = ["unplaced", "stopped", "failed", "loading", "newest"]
    present = ranks[ranks.index(worst) :]
    cluster = Cluster(node("node-a", gpu(0, 80), gpu(1, 80)), targets=(target(replicas=len(present) + 1),))
    cluster.settle()
    names = sorted(cluster.deployments)
    cluster.serve(names[0])
    for name, rank in zip(names[1:], present, strict=True):
        match rank:
            case "unplaced":
                cluster.change(name, placement=None)
            case "stopped":
                cluster.change(name, intent=Intent.STOP)
            case "failed":
                failures = tuple(Failure(attempt=n, exit=EngineExit(at=1.0, code=1)) for n in range(1, 9))
                cluster.change(name, attempt=8, failures=failures)
            case "loading":
                cluster.change(name, attempt=1, pulled_at=1.0, started_at=2.0)
            case "newest":
                cluster.serve(name)
    cluster.targets = [target(replicas=len(present))]
    assert removed(cluster.settle()) == {names[1]: f"scaled down to {len(present)}"}


def test_changed_spec_is_rolled_one_at_a_time():
    cluster = Cluster(node("node-a", gpu(0, 80), gpu(1, 80)), targets=(target(replicas=2),))
    cluster.settle()
    cluster.serve("d0")
    cluster.serve("d1")
    cluster.targets = [target(replicas=2, spec=EngineSpec(context=4096))]
    assert kinds(cluster.settle()) == ["CreateDeployment"]
    assert cluster.place_of("d2") is not None
    cluster.serve("d2")
    (first,) = removed(cluster.settle())
    cluster.gone(first)
    assert kinds(cluster.settle()) == ["CreateDeployment"]
    cluster.serve("d3")
    (second,) = removed(cluster.settle())
    assert {first, second} == {"d0", "d1"}
    cluster.gone(second)
    assert cluster.decide() == ()
    assert all(d.spec.context == 4096 for d in cluster.deployments.values())


def test_bad_replacement_leaves_the_old_one_serving():
    cluster = Cluster(node("node-a", gpu(0, 80)), targets=(target(),))
    cluster.settle()
    cluster.serve("d0")
    cluster.targets = [target(spec=EngineSpec(context=4096))]
    cluster.settle()
    failures = tuple(Failure(attempt=n, exit=EngineExit(at=1.0, code=1)) for n in range(1, 9))
    cluster.change("d1", attempt=8, failures=failures)
    assert cluster.decide() == ()
    assert cluster.deployments["d0"].intent is Intent.RUN


def test_old_one_makes_room_for_a_replacement_without_a_place():
    cluster = Cluster(node("node-a", gpu(0)), targets=(target(),))
    cluster.settle()
    cluster.serve("d0")
    cluster.targets = [target(spec=EngineSpec(context=4096))]
    assert kinds(cluster.settle()) == ["CreateDeployment"]
    cluster.read()
    assert removed(cluster.settle()) == {"d0": "makes room for its replacement"}
    assert cluster.place_of("d1") is None
    cluster.gone("d0")
    assert kinds(cluster.settle()) == ["PlaceDeployment"]


def test_only_one_of_several_makes_room_at_a_time():
    cluster = Cluster(node(), targets=(target(replicas=2),))
    cluster.settle()
    cluster.serve("d0")
    cluster.serve("d1")
    cluster.targets = [target(replicas=2, spec=EngineSpec(context=4096))]
    cluster.settle()
    cluster.read()
    (first,) = removed(cluster.settle())
    not_read_since = cluster.nodes
    cluster.gone(first)
    freed, cluster.nodes = cluster.nodes, not_read_since
    assert cluster.decide() == ()
    cluster.nodes = freed
    assert kinds(cluster.settle()) == ["PlaceDeployment"]


def test_memory_of_an_engine_that_just_left_is_waited_for():
    """The second replacement finds the place of the first old instance as soon as the device was read again."""
    cluster = Cluster(node("node-a", gpu(0), gpu(1), gpu(2)), targets=(target(replicas=2),))
    cluster.settle()
    cluster.serve("d0")
    cluster.serve("d1")
    cluster.targets = [target(replicas=2, spec=EngineSpec(context=4096))]
    cluster.settle()
    cluster.serve("d2")
    (first,) = removed(cluster.settle())
    not_read_since = cluster.nodes
    cluster.gone(first)
    freed, cluster.nodes = cluster.nodes, not_read_since
    assert kinds(cluster.settle()) == ["CreateDeployment"]
    assert cluster.place_of("d3") is None
    cluster.nodes = freed
    cluster.read()
    assert kinds(cluster.settle()) == ["PlaceDeployment"]


def test_all_that_it_takes_make_room_for_a_wider_replacement():
    cluster = Cluster(node(), targets=(target(replicas=2),))
    cluster.settle()
    cluster.serve("d0")
    cluster.serve("d1")
    cluster.targets = [target(replicas=2, spec=EngineSpec(gpu_count=2, concurrency=16))]
    assert kinds(cluster.settle()) == ["CreateDeployment"]
    cluster.read()
    assert removed(cluster.settle()) == {
        "d0": "makes room for its replacement",
        "d1": "makes room for its replacement",
    }


def test_no_old_one_goes_for_a_replacement_that_could_not_land_anyway():
    cluster = Cluster(node("node-a", gpu(0)), targets=(target(),))
    cluster.settle()
    cluster.serve("d0")
    cluster.targets = [target(spec=EngineSpec(context=131_072, concurrency=64))]
    assert kinds(cluster.settle()) == ["CreateDeployment"]
    cluster.read()
    assert cluster.decide() == ()
    refusal = cluster.deployments["d1"].refusal
    assert refusal is not None
    assert "more than any GPU that may be used has" in refusal.summary


def test_old_one_that_does_not_serve_goes_at_once_and_its_place_is_free_in_the_same_pass():
    cluster = Cluster(node("node-a", gpu(0, 24)), targets=(target(),))
    cluster.settle()
    cluster.targets = [target(spec=EngineSpec(context=4096))]
    effects = cluster.settle()
    assert removed(effects) == {"d0": "what is desired of it changed"}
    assert cluster.place_of("d1") is not None


def test_instance_that_breaks_the_constraints_is_moved():
    cluster = Cluster(node("node-a", gpu(0)), node("node-b", gpu(0)), targets=(target(),))
    cluster.settle()
    assert cluster.place_of("d0") == ("node-a", ("nvidia-0",))
    cluster.serve("d0")
    cluster.targets = [target(constraints=Constraints(node=NodeName("node-b")))]
    assert kinds(cluster.settle()) == ["CreateDeployment"]
    assert cluster.place_of("d1") == ("node-b", ("nvidia-0",))
    cluster.serve("d1")
    assert set(removed(cluster.settle())) == {"d0"}


def test_older_target_comes_first():
    late = target(name="a-late", created_at=5.0)
    early = target(name="b-early", created_at=2.0)
    cluster = Cluster(node("node-a", gpu(0)), targets=(late, early))
    cluster.settle()
    by_target = {d.target: d for d in cluster.deployments.values()}
    assert by_target["b-early"].placement is not None
    assert by_target["a-late"].placement is None


def test_started_again_after_a_stop_is_placed_anew():
    cluster = Cluster(node("node-a", gpu(0)), targets=(target(),))
    cluster.settle()
    cluster.change("d0", intent=Intent.STOP, placement=None)
    cluster.targets.append(target(name="other", created_at=2.0))
    cluster.settle()
    cluster.change("d0", intent=Intent.RUN, restart_requested=True)
    assert kinds(cluster.settle()) == ["RefuseDeployment"]


def test_external_engine_is_attached_and_needs_no_gpu():
    wanted = target(spec=EngineSpec(url="http://10.0.0.9:8000"))
    cluster = Cluster(node("node-a", gpu(0, 24, used_gib=24)), targets=(wanted,))
    cluster.settle()
    assert cluster.deployments["d0"].runtime is RuntimeKind.EXTERNAL
    assert cluster.place_of("d0") == ("node-a", ())
