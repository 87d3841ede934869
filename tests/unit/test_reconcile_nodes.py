"""Reconciling over several nodes: lost, suspect, draining and removed ones, and what may run only once."""

from dataclasses import replace

import pytest
from reconcile_kit import Cluster, gpu, kinds, node, removed, target

from modelgrid.decide.classify import classify, serves
from modelgrid.domain.deployment import Deployment, DeploymentState, Failure, Intent
from modelgrid.domain.engine import EngineExit
from modelgrid.domain.node import NodeLiveness, NodeStatus
from modelgrid.domain.target import Constraints, EngineSpec, Target

READY, SUSPECT, LOST = NodeLiveness.READY, NodeLiveness.SUSPECT, NodeLiveness.LOST
ONCE = Constraints(exclusive=True)
FULL = gpu(0, 24, used_gib=20)


def serving(*wanted: Target, spare: bool = True) -> Cluster:
    """Everything that is desired serves on node-a; node-b has room if `spare`."""
    replicas = sum(item.replicas for item in wanted)
    cluster = Cluster(node("node-a", *(gpu(n) for n in range(replicas))), node("node-b", FULL), targets=wanted)
    cluster.settle()
    for name in list(cluster.deployments):
        cluster.serve(name)
    if spare:
        make_room(cluster)
    assert cluster.decide() == ()
    return cluster


def make_room(cluster: Cluster) -> None:
    b = next(n for n in cluster.nodes if n.name == "node-b")
    cluster.node("node-b", inventory=replace(b.inventory, gpus=(gpu(0), gpu(1))))


def running(cluster: Cluster) -> list[Deployment]:
    return [d for d in cluster.deployments.values() if d.intent is Intent.RUN]


# --- lost


def test_on_a_lost_node_it_is_replaced_and_dismissed_when_its_replacement_serves() -> None:
    cluster = serving(target())
    cluster.node("node-a", liveness=LOST)
    assert kinds(cluster.settle()) == ["CreateDeployment"]
    assert cluster.place_of("d1") == ("node-b", ("nvidia-0",))
    assert cluster.deployments["d0"].intent is Intent.RUN
    cluster.serve("d1")
    assert removed(cluster.settle()) == {"d0": "node-a is lost, and others serve in its place"}
    cluster.node("node-a", liveness=READY)
    assert cluster.decide() == ()


def test_who_is_back_before_its_replacement_serves_stays() -> None:
    cluster = serving(target())
    cluster.node("node-a", liveness=LOST)
    cluster.settle()
    cluster.node("node-a", liveness=READY)
    assert removed(cluster.settle()) == {"d1": "not needed any more: 1 desired, and others are there again"}


def test_a_replacement_without_a_place_waits_and_says_why() -> None:
    cluster = serving(target(), spare=False)
    cluster.node("node-a", liveness=LOST)
    cluster.settle()
    refusal = cluster.deployments["d1"].refusal
    assert refusal is not None
    assert {verdict.code for verdict in refusal.verdicts} == {"node_lost", "too_little_memory"}
    assert cluster.deployments["d0"].intent is Intent.RUN
    cluster.node("node-a", liveness=READY)
    assert set(removed(cluster.settle())) == {"d1"}


def test_only_what_is_missing_is_replaced() -> None:
    cluster = Cluster(node("node-a", gpu(0)), node("node-b", gpu(0)), node("node-c", gpu(0)))
    cluster.targets = [target(replicas=2)]
    cluster.settle()
    cluster.serve("d0")
    cluster.serve("d1")
    cluster.node("node-a", liveness=LOST)
    assert kinds(cluster.settle()) == ["CreateDeployment"]
    assert cluster.place_of("d2") == ("node-c", ("nvidia-0",))
    assert cluster.decide() == (), "one serves, one of two is absent: nobody goes before the new one serves"
    cluster.serve("d2")
    assert set(removed(cluster.settle())) == {"d0"}


def test_absent_ones_go_when_they_are_not_desired_any_more() -> None:
    cluster = serving(target())
    cluster.node("node-a", liveness=LOST)
    cluster.targets = [target(replicas=0, updated_at=cluster.now)]
    assert set(removed(cluster.settle())) == {"d0"}


def test_a_dismissed_one_on_a_lost_node_holds_up_no_roll_out() -> None:
    cluster = Cluster(node("node-a", gpu(0)), node("node-b", gpu(0, 80)), targets=(target(replicas=2),))
    cluster.settle()
    cluster.serve("d0")
    cluster.serve("d1")
    cluster.node("node-a", liveness=LOST)
    cluster.settle()
    cluster.serve("d2")
    cluster.settle()
    cluster.targets = [target(replicas=2, spec=EngineSpec(context=4096))]
    assert kinds(cluster.settle()) == ["CreateDeployment"]


def test_a_stopped_one_on_a_lost_node_still_counts() -> None:
    cluster = serving(target())
    cluster.change("d0", intent=Intent.STOP)
    cluster.node("node-a", liveness=LOST)
    assert cluster.decide() == ()


def test_a_suspect_node_keeps_what_it_has_and_gets_nothing() -> None:
    cluster = serving(target())
    cluster.node("node-a", liveness=SUSPECT)
    cluster.node("node-b", liveness=SUSPECT)
    assert cluster.decide() == ()
    cluster.targets = [target(replicas=2)]
    cluster.settle()
    assert cluster.place_of("d1") is None


# --- not known


def test_a_node_that_has_not_spoken_yet_keeps_what_it_has() -> None:
    """After a start of the control plane. Rows of a node that left are archived by whoever let it go."""
    cluster = serving(target())
    for nodes in ([n for n in cluster.nodes if n.name == "node-b"], []):
        cluster.nodes = nodes
        assert cluster.decide() == ()


# --- draining


def test_a_draining_node_is_emptied_one_by_one_replacement_first() -> None:
    cluster = serving(target(replicas=2))
    cluster.node("node-a", status=NodeStatus.DRAINING)
    gone = []
    for new in ("d2", "d3"):
        assert kinds(cluster.settle()) == ["CreateDeployment"]
        assert cluster.place_of(new) is not None
        assert cluster.decide() == (), "the old one serves until the new one does"
        cluster.serve(new)
        ((name, reason),) = removed(cluster.settle()).items()
        assert reason == "node-a is draining"
        assert cluster.decide() == (), "the next one when this one has gone"
        cluster.gone(name)
        gone.append(name)
    assert sorted(gone) == ["d0", "d1"]
    assert cluster.decide() == ()


def test_without_room_elsewhere_the_old_one_serves_on_and_it_is_said_why() -> None:
    cluster = serving(target(), spare=False)
    cluster.node("node-a", status=NodeStatus.DRAINING)
    cluster.settle()
    cluster.read()
    assert cluster.decide() == ()
    assert cluster.deployments["d0"].intent is Intent.RUN
    refusal = cluster.deployments["d1"].refusal
    assert refusal is not None
    assert {verdict.code for verdict in refusal.verdicts} == {"node_draining", "too_little_memory"}
    make_room(cluster)
    assert kinds(cluster.settle()) == ["PlaceDeployment"]


def test_activated_again_the_replacement_goes() -> None:
    cluster = serving(target(), spare=False)
    cluster.node("node-a", status=NodeStatus.DRAINING)
    cluster.settle()
    cluster.node("node-a", status=NodeStatus.ACTIVE)
    assert set(removed(cluster.settle())) == {"d1"}


@pytest.mark.parametrize("state", ["loading", "failed", "not begun"])
def test_what_does_not_serve_on_a_draining_node_is_placed_anew(state: str) -> None:
    cluster = Cluster(node("node-a", gpu(0)), node("node-b", FULL), targets=(target(),))
    cluster.settle()
    match state:
        case "loading":
            cluster.change("d0", attempt=1, pulled_at=1.0, started_at=2.0)
        case "failed":
            failures = tuple(Failure(attempt=n, exit=EngineExit(at=1.0, code=1)) for n in range(1, 9))
            cluster.change("d0", attempt=8, failures=failures)
    make_room(cluster)
    cluster.node("node-a", status=NodeStatus.DRAINING)
    effects = cluster.settle()
    assert removed(effects) == {"d0": "node-a is draining"}
    assert cluster.place_of("d1") == ("node-b", ("nvidia-0",))


def test_what_was_stopped_on_a_draining_node_is_left() -> None:
    cluster = serving(target())
    cluster.change("d0", intent=Intent.STOP)
    cluster.node("node-a", status=NodeStatus.DRAINING)
    assert cluster.decide() == ()


def test_a_cordoned_node_keeps_what_it_has() -> None:
    cluster = serving(target())
    cluster.node("node-a", status=NodeStatus.CORDONED)
    assert cluster.decide() == ()


# --- exclusive


def test_exclusive_is_not_replaced_while_its_node_is_only_suspect() -> None:
    cluster = serving(target(constraints=ONCE))
    cluster.node("node-a", liveness=SUSPECT)
    assert cluster.decide() == ()


def test_exclusive_on_a_lost_node_ends_in_the_pass_that_starts_it_elsewhere() -> None:
    cluster = serving(target(constraints=ONCE))
    cluster.node("node-a", liveness=LOST)
    effects = cluster.settle()
    assert kinds(effects) == ["SetIntent", "CreateDeployment"], "first the one, then the other"
    assert removed(effects) == {"d0": "node-a is lost, and it is started elsewhere"}
    cluster.node("node-a", liveness=READY)
    assert cluster.decide() == ()


def test_exclusive_without_room_elsewhere_is_kept_for_the_return_of_its_node() -> None:
    cluster = serving(target(constraints=ONCE), spare=False)
    cluster.node("node-a", liveness=LOST)
    assert kinds(cluster.settle()) == ["CreateDeployment"]
    cluster.node("node-a", liveness=READY)
    assert set(removed(cluster.settle())) == {"d1"}
    assert running(cluster)[0].id == "d0"


def test_changed_exclusive_ends_before_its_replacement_is_placed() -> None:
    cluster = serving(target(constraints=ONCE))
    cluster.targets = [target(constraints=ONCE, spec=EngineSpec(context=4096))]
    assert removed(cluster.settle()) == {"d0": "ends before its replacement starts, as only one of the two may run"}
    assert len(cluster.deployments) == 1
    cluster.gone("d0")
    assert kinds(cluster.settle()) == ["CreateDeployment"]


def test_changed_exclusive_that_would_have_no_place_serves_on() -> None:
    cluster = serving(target(constraints=ONCE), spare=False)
    cluster.targets = [target(constraints=ONCE, spec=EngineSpec(context=131_072, concurrency=64))]
    assert cluster.decide() == ()


def test_several_exclusive_ones_are_changed_one_at_a_time() -> None:
    cluster = serving(target(replicas=2, constraints=ONCE))
    cluster.targets = [target(replicas=2, constraints=ONCE, spec=EngineSpec(context=4096))]
    (first,) = removed(cluster.settle())
    cluster.gone(first)
    cluster.read()
    assert kinds(cluster.settle()) == ["CreateDeployment"]
    assert len(running(cluster)) == 2
    cluster.serve("d2")
    assert len(removed(cluster.settle())) == 1


def test_exclusive_on_a_draining_node_ends_there_first() -> None:
    cluster = serving(target(constraints=ONCE))
    cluster.node("node-a", status=NodeStatus.DRAINING)
    assert set(removed(cluster.settle())) == {"d0"}
    cluster.gone("d0")
    cluster.settle()
    assert cluster.place_of("d1") == ("node-b", ("nvidia-0",))


def test_a_dismissed_exclusive_one_counts_until_it_has_gone() -> None:
    cluster = serving(target(constraints=ONCE))
    cluster.change("d0", intent=Intent.REMOVE)
    assert cluster.decide() == ()
    cluster.change("d0", engine=None, engine_gone_at=cluster.now)
    assert kinds(cluster.settle()) == ["CreateDeployment"]


# --- where


def test_packed_instances_fill_one_node_after_the_other() -> None:
    packed = target(replicas=3, constraints=Constraints(pack=True))
    cluster = Cluster(node("node-a", gpu(0, 80)), node("node-b", gpu(0, 80), gpu(1, 80)), targets=(packed,))
    cluster.settle()
    assert [cluster.place_of(name) for name in ("d0", "d1", "d2")] == [("node-a", ("nvidia-0",))] * 3


def test_packed_instances_go_where_others_are_already() -> None:
    cluster = Cluster(node("node-a", gpu(0, 80)), node("node-b", gpu(0, 80)), targets=(target(),))
    cluster.settle()
    cluster.targets.append(target(name="packed", created_at=9.0, constraints=Constraints(pack=True)))
    cluster.targets.append(target(name="spread", created_at=10.0))
    cluster.settle()
    assert cluster.place_of("d1") == cluster.place_of("d0")


def test_nothing_lands_on_a_node_with_a_problem() -> None:
    cluster = Cluster(node("node-a", gpu(0), problem="its clock is 3,600 s ahead"), targets=(target(),))
    cluster.settle()
    refusal = cluster.deployments["d0"].refusal
    assert refusal is not None
    assert refusal.summary == "node-a takes nothing new: its clock is 3,600 s ahead"


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"ready_at": None},
        {"unhealthy_since": 5.0},
        {"intent": Intent.STOP},
        {"intent": Intent.REMOVE, "engine": None},
        {"restart_requested": True},
        {"removed_at": 9.0},
        {"placement": None},
        {"failures": (Failure(attempt=1, exit=EngineExit(at=5.0, code=1)),)},
        {"failures": (Failure(attempt=0, exit=EngineExit(at=5.0, code=1)),)},
    ],
)
def test_serving_is_what_the_table_calls_running(facts: dict[str, object]) -> None:
    served = serving(target()).deployments["d0"]
    changed = replace(served, **facts)  # type: ignore[arg-type]
    says = classify(changed, 2_000.0).state is DeploymentState.RUNNING and changed.unhealthy_since is None
    assert serves(changed) is says
