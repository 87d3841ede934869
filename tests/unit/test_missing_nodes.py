"""What is placed on a node that is not there."""

from dataclasses import replace

from modelgrid.decide.missing_nodes import on_missing_nodes
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.ids import DeploymentId, GpuId, ModelId, NodeName
from modelgrid.domain.placement import Decision, MemoryNeed, Placement
from modelgrid.domain.target import EngineSpec, Origin, RuntimeKind

HERE, ELSEWHERE = NodeName("here"), NodeName("worker-a")
UNPLACED = Deployment(
    id=DeploymentId("small-1"),
    target="org/small",
    model=ModelId("org/small"),
    origin=Origin.API,
    spec=EngineSpec(),
    runtime=RuntimeKind.SIMULATED,
    created_at=1.0,
)


def on(node: NodeName) -> Deployment:
    decision = Decision(node=node, gpus=(GpuId("nvidia-0"),), need=MemoryNeed(gpu_count=1, terms=()), summary="")
    return replace(
        UNPLACED, placement=Placement(node=node, gpus=decision.gpus, decision=decision, placed_at=1.0, epoch=1)
    )


def test_what_is_placed_on_a_node_that_is_not_there_is_found_with_that_node() -> None:
    assert on_missing_nodes([on(HERE), on(ELSEWHERE), UNPLACED], {HERE}) == ((on(ELSEWHERE), ELSEWHERE),)


def test_what_is_here_or_has_no_place_yet_is_left_alone() -> None:
    assert on_missing_nodes([on(HERE), on(ELSEWHERE), UNPLACED], {HERE, ELSEWHERE}) == ()
    assert on_missing_nodes([UNPLACED], ()) == ()
