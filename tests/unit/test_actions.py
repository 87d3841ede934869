"""What starts and restarts mean for the place of a deployment."""

from dataclasses import replace
from typing import cast

import pytest
from memory_store import MemoryStore

from modelgrid.adapters.clock_system import SystemClock
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.engine import EngineRef
from modelgrid.domain.ids import DeploymentId, GpuId, ModelId, NodeName
from modelgrid.domain.placement import Decision, MemoryNeed, Placement
from modelgrid.domain.target import Origin, RuntimeKind
from modelgrid.services.actions import DeploymentActions
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetService

MODEL = ModelId("org/model")
NOW = 1_000.0
ID = DeploymentId("model-000001")
PLACE = Placement(
    node=NodeName("worker-a"),
    gpus=(GpuId("nvidia-0"),),
    decision=Decision(need=MemoryNeed(gpu_count=1, terms=()), summary="placed"),
    placed_at=NOW,
    epoch=3,
)
ENGINE = EngineRef(runtime=RuntimeKind.SIMULATED, id="engine", deployment=ID, attempt=1, url="http://127.0.0.1:41001")
RUNNING = Deployment(
    id=ID,
    target=MODEL,
    model=MODEL,
    origin=Origin.API,
    runtime=RuntimeKind.SIMULATED,
    created_at=NOW,
    placement=PLACE,
    placements=3,
    attempt=1,
    engine=ENGINE,
    started_at=NOW,
)
STOPPING = replace(RUNNING, intent=Intent.STOP)
STOPPED = replace(STOPPING, engine=None, started_at=None, engine_gone_at=NOW)
UNSURE = replace(STOPPED, engine_gone_at=None)


async def asked(act: str, present: Deployment) -> Deployment:
    store = MemoryStore()
    registry = DeploymentRegistry(store)
    await registry.create(present)
    nobody = cast("TargetService", None)  # only removing asks for targets
    changed = await getattr(DeploymentActions(registry, nobody, SystemClock()), act)(ID, by="anna")
    assert (changed.intent, changed.restart_requested, changed.restarts_asked) == (Intent.RUN, True, 1)
    return cast("Deployment", changed)


@pytest.mark.parametrize("act", ["start", "restart"])
async def test_who_has_stopped_is_placed_anew_as_its_place_may_be_taken(act: str) -> None:
    assert (await asked(act, STOPPED)).placement is None


@pytest.mark.parametrize("act", ["start", "restart"])
@pytest.mark.parametrize("present", [STOPPING, UNSURE], ids=["ends", "not confirmed to be gone"])
async def test_who_may_still_have_an_engine_keeps_its_place(act: str, present: Deployment) -> None:
    assert (await asked(act, present)).placement == PLACE


@pytest.mark.parametrize("runtime", [RuntimeKind.SIMULATED, RuntimeKind.EXTERNAL])
async def test_what_runs_is_restarted_where_it_is(runtime: RuntimeKind) -> None:
    assert (await asked("restart", replace(RUNNING, runtime=runtime))).placement == PLACE
