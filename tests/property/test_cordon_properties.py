"""Row R15: clusters in which something runs are cordoned, drained, lose nodes, and are asked for more. Nothing new
lands on a node that is not active and ready, whatever was there before."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from placement_strategies import ENTRIES, World, clusters, is_open, targets

from modelgrid.decide.effects import CreateDeployment, PlaceDeployment
from modelgrid.decide.reconcile import reconcile
from modelgrid.domain.ids import ModelId
from modelgrid.domain.node import NodeLiveness, NodeStatus
from modelgrid.domain.target import Origin, RuntimeKind, Target

NAMES = ("first", "second")
SEEN: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def told() -> Iterator[None]:
    yield
    print(
        f"\ncordon: {SEEN['clusters']} clusters, {SEEN['closed']} of {SEEN['nodes']} nodes closed, "
        f"{SEEN['landed']} placements, {SEEN['on closed nodes']} of them on closed nodes"
    )
    assert SEEN["landed"] > SEEN["clusters"] // 10, "something has to land, or nothing was tried"
    assert SEEN["closed"] > SEEN["clusters"] // 10


def passes(world: World) -> None:
    """Decide and apply; count where things landed."""
    effects = reconcile(
        list(world.targets.values()),
        list(world.deployments.values()),
        list(world.nodes.values()),
        ENTRIES,
        RuntimeKind.DOCKER,
        world.now,
    )
    for effect in effects:
        if isinstance(effect, CreateDeployment | PlaceDeployment) and effect.decision.node is not None:
            SEEN["landed"] += 1
            SEEN["on closed nodes"] += not is_open(world.nodes[effect.decision.node])
            assert is_open(world.nodes[effect.decision.node])
    world.now += 1
    world.apply(effects)


@given(clusters(), st.data())
def test_nothing_lands_on_a_node_that_is_closed(cluster, data):
    world = World(nodes={node.name: node for node in cluster})
    world.targets = {name: data.draw(targets(name)) for name in NAMES}
    world.targets["small"] = Target(
        name="small",
        model=ModelId("org/tiny"),
        replicas=2,
        origin=Origin.API,
        created_at=world.now,
        updated_at=world.now,
    )
    passes(world)
    SEEN["clusters"] += 1
    for name, node in world.nodes.items():
        status = data.draw(st.sampled_from((*[NodeStatus.ACTIVE] * 4, *NodeStatus)))
        liveness = data.draw(st.sampled_from((*[NodeLiveness.READY] * 4, *NodeLiveness)))
        world.nodes[name] = closed = replace(node, status=status, liveness=liveness)
        SEEN["nodes"] += 1
        SEEN["closed"] += not is_open(closed)
    for name, target in world.targets.items():
        world.targets[name] = replace(target, replicas=target.replicas + data.draw(st.integers(0, 2)))
    passes(world)
