"""Reconciling: how many, which go first, rolling replacement, and that one pass is enough."""

import pytest
from reconcile_kit import Cluster, gpu, kinds, node, removed, target

from modelgrid.domain.deployment import Failure, Intent
from modelgrid.domain.engine import EngineExit
from modelgrid.domain.ids import NodeName
from modelgrid.domain.node import NodeStatus
from modelgrid.domain.target import Constraints, EngineSpec, RuntimeKind


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
    cluster.targets = [target(replicas=len(present), updated_at=cluster.now + 1)]
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


def test_old_one_that_does_not_serve_goes_at_once_and_its_place_is_free_when_its_node_says_so():
    cluster = Cluster(node("node-a", gpu(0, 24)), targets=(target(),))
    cluster.settle()
    cluster.targets = [target(spec=EngineSpec(context=4096))]
    effects = cluster.settle()
    assert removed(effects) == {"d0": "what is desired of it changed"}
    assert cluster.place_of("d1") is None, "its node may have begun it, and not said so yet"
    cluster.change("d0", engine_gone_at=cluster.now)
    assert kinds(cluster.settle()) == ["PlaceDeployment"]


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
