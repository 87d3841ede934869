"""The badges of Cluster ▸ Desired."""

from dataclasses import replace

import pytest
from reconcile_kit import Cluster, gpu, node, target

from modelgrid.decide.pending_work import pending_work
from modelgrid.domain.deployment import Intent
from modelgrid.domain.node import NodeLiveness, NodeStatus
from modelgrid.domain.target import Constraints


def badges(cluster: Cluster) -> tuple[str, ...]:
    nodes = {item.name: item for item in cluster.nodes}
    return pending_work(cluster.targets[0], list(cluster.deployments.values())[::-1], nodes)


@pytest.fixture
def cluster() -> Cluster:
    """One replica serves on worker-b; worker-a has room."""
    one = target(constraints=Constraints(node=None))
    made = Cluster(node("worker-b", gpu(0)), targets=(one,))
    made.settle()
    made.serve("d0")
    made.nodes.append(node("worker-a", gpu(0)))
    return made


def test_nothing_is_under_way(cluster: Cluster) -> None:
    assert badges(cluster) == ()


def test_replicas_to_come_and_to_go(cluster: Cluster) -> None:
    cluster.targets = [target(replicas=3)]
    assert badges(cluster) == ("+2 replicas",), "before anything was created"
    cluster.settle()
    assert badges(cluster) == ("+2 replicas",)
    cluster.serve("d1")
    assert badges(cluster) == ("+1 replica",), "the third has no place"
    cluster.targets = [target(replicas=1)]
    cluster.settle()
    assert badges(cluster) == ("-2 replicas",)


def test_draining_is_a_move(cluster: Cluster) -> None:
    cluster.node("worker-b", status=NodeStatus.DRAINING)
    cluster.settle()
    assert badges(cluster) == ("moving worker-b → worker-a",)
    cluster.serve("d1")
    cluster.settle()
    assert badges(cluster) == ("-1 replica",), "the new one serves, the old one drains"
    cluster.gone("d0")
    assert badges(cluster) == ()


def test_draining_without_room(cluster: Cluster) -> None:
    cluster.nodes = cluster.nodes[:1]
    cluster.node("worker-b", status=NodeStatus.DRAINING)
    cluster.settle()
    assert badges(cluster) == ("moving worker-b → no place yet",)


def test_a_lost_node_is_a_move(cluster: Cluster) -> None:
    cluster.node("worker-b", liveness=NodeLiveness.LOST)
    assert badges(cluster) == ("+1 replica",)
    cluster.settle()
    assert badges(cluster) == ("moving worker-b → worker-a",)
    cluster.serve("d1")
    cluster.settle()
    assert badges(cluster) == (), "what is dismissed on a lost node is nobody's work"


def test_replaced_in_place_is_no_move(cluster: Cluster) -> None:
    new = replace(cluster.deployments["d0"], id="d9", created_at=9_000.0, ready_at=None)  # type: ignore[arg-type]
    cluster.deployments["d9"] = new
    cluster.change("d0", intent=Intent.REMOVE)
    assert badges(cluster) == ("+1 replica", "-1 replica")


def test_what_was_stopped_is_as_it_was_left(cluster: Cluster) -> None:
    cluster.change("d0", intent=Intent.STOP)
    assert badges(cluster) == ()
