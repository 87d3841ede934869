"""What gateways are told of models: where to, whether to wait, and why not."""

from dataclasses import replace
from typing import Any

import pytest
from reconcile_kit import ENTRY as KNOWN

from modelgrid.decide.routing_table import MOST_SEQUENCES, UNMEASURED_LOAD_SECONDS, model_routes
from modelgrid.domain.deployment import Deployment, Diagnosis, Failure, Intent
from modelgrid.domain.engine import EngineExit, EngineRef
from modelgrid.domain.ids import DeploymentId, ModelId, NodeName
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.placement import Decision, MemoryNeed, Placement
from modelgrid.domain.routing import ModelRoute, ModelState, ReplicaState
from modelgrid.domain.target import EngineSpec, Origin, RuntimeKind, Target

NOW = 10_000.0
NO_PLACE = Decision(node=None, need=MemoryNeed(gpu_count=1, terms=()), summary="no GPU has the 17.6 GiB that it needs.")
TARGET = Target(
    name="m", model=ModelId("m"), replicas=1, origin=Origin.API, created_at=5.0, updated_at=5.0, revision=1
)  # fmt: skip
ENGINE = EngineRef(
    runtime=RuntimeKind.SIMULATED, id="1:1", deployment=DeploymentId("m-1"), attempt=1, url="http://127.0.0.1:20000"
)
BROKEN = Failure(
    attempt=1,
    exit=EngineExit(at=NOW - 5, code=1),
    diagnosis=Diagnosis(code="x", cause="the repository is gated", remedy="r", retry=False),
)


def deployment(**facts: Any) -> Deployment:
    values = {
        "attempt": 1,
        "placement": Placement(node=NodeName("n"), gpus=(), decision=NO_PLACE, placed_at=1.0),
    } | facts
    return Deployment(
        id=DeploymentId("m-1"), target="m", model=ModelId("m"), origin=Origin.API, runtime=RuntimeKind.SIMULATED,
        created_at=1.0, **values,
    )  # fmt: skip


def route(*deployments: Deployment, target: Target = TARGET, load: float | None = None) -> ModelRoute:
    measured = {} if load is None else {"m": load}
    (only,) = model_routes([target], deployments, lambda _: None, measured, (), NOW)
    return only


RUNNING = deployment(engine=ENGINE, started_at=2.0, ready_at=3.0)


def test_a_running_deployment_is_a_replica_with_as_many_places_as_its_engine_has() -> None:
    told = route(replace(RUNNING, spec=EngineSpec(args=("--max-num-seqs=64",))))
    assert told.state is ModelState.READY
    assert [(item.port, item.state, item.places) for item in told.replicas] == [(20000, ReplicaState.READY, 72)]
    assert route(RUNNING).replicas[0].places == MOST_SEQUENCES * 9 // 8
    assert told.reason == ""


def test_a_draining_deployment_takes_nothing_new() -> None:
    told = route(replace(RUNNING, intent=Intent.STOP, intent_reason="stopped by ann"))
    assert told.state is ModelState.STOPPED
    assert told.replicas[0].state is ReplicaState.DRAINING


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (None, ""),
        ({"placement": None, "attempt": 0}, ""),
        ({"attempt": 0}, ""),
        ({"started_at": 9_990.0}, ""),
        ({"failures": (replace(BROKEN, diagnosis=None),)}, "exited with code 1"),
    ],
    ids=["not created yet", "not placed yet", "placed", "loading", "tries again"],
)
def test_what_is_on_its_way_is_waited_for(facts: dict[str, Any] | None, why: str) -> None:
    told = route(*([] if facts is None else [deployment(**facts)]))
    assert told.state is ModelState.STARTING
    assert told.reason.startswith(why)
    assert bool(told.reason) == bool(why)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"placement": None, "refusal": NO_PLACE, "attempt": 0}, "no GPU has the 17.6 GiB that it needs"),
        ({"failures": (BROKEN,)}, "given up: the repository is gated"),
        ({"intent": Intent.STOP, "intent_reason": "stopped by ann"}, "stopped by ann"),
    ],
    ids=["no place", "given up", "stopped"],
)
def test_what_is_not_on_its_way_says_why(facts: dict[str, Any], why: str) -> None:
    told = route(deployment(**facts))
    assert told.state is ModelState.STOPPED
    assert told.reason.startswith(why)
    assert not told.reason.endswith(".")


ENTRY = replace(KNOWN, id=ModelId("m"))
REMOVED = replace(RUNNING, intent=Intent.REMOVE, intent_reason="no longer desired")


@pytest.mark.parametrize(
    ("targets", "deployments", "deployable", "state"),
    [
        ((), (), (ENTRY,), ModelState.ON_REQUEST),
        ((), (REMOVED,), (ENTRY,), ModelState.ON_REQUEST),
        ((), (REMOVED, replace(REMOVED, stop_started_at=NOW)), (ENTRY,), ModelState.ON_REQUEST),
        ((), (REMOVED, RUNNING), (ENTRY,), ModelState.READY),
        ((), (REMOVED, replace(RUNNING, intent=Intent.STOP)), (ENTRY,), ModelState.STOPPED),
        ((replace(TARGET, replicas=0),), (REMOVED,), (ENTRY,), ModelState.STOPPED),
        ((TARGET,), (REMOVED,), (ENTRY,), ModelState.STARTING),
        ((), (REMOVED,), (), ModelState.STOPPED),
    ],
    ids=[
        "nothing", "drains", "all end", "one stays", "one was stopped", "none desired", "desired again", "not allowed",
    ],
)  # fmt: skip
def test_a_request_brings_up_what_nobody_wants_and_what_leaves(
    targets: tuple[Target, ...],
    deployments: tuple[Deployment, ...],
    deployable: tuple[CatalogEntry, ...],
    state: ModelState,
) -> None:
    (told,) = model_routes(targets, deployments, lambda _: ENTRY, {}, deployable, NOW)
    assert told.state is state


def test_what_leaves_finishes_what_it_has_while_a_request_may_bring_it_back() -> None:
    (told,) = model_routes((), [REMOVED], lambda _: ENTRY, {}, (ENTRY,), NOW)
    assert [replica.state for replica in told.replicas] == [ReplicaState.DRAINING]
    assert told.reason == "running requests finish"


def test_nothing_desired_is_nothing_to_wait_for() -> None:
    assert route(target=replace(TARGET, replicas=0)).state is ModelState.STOPPED


def test_waits_follow_from_the_last_load_and_the_present_one() -> None:
    loading = route(deployment(started_at=9_990.0), load=41.7)
    assert (loading.retry_after_seconds, loading.loading_since) == (42, 9_990.0)
    assert route(RUNNING).retry_after_seconds == UNMEASURED_LOAD_SECONDS
