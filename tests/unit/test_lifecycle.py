"""The walk of a deployment through its states: each fact leads to one step and one state."""

from dataclasses import replace
from typing import Any

import pytest

from modelgrid.decide.classify import classify
from modelgrid.decide.lifecycle import Step, next_step
from modelgrid.decide.restart import GIVE_UP_AFTER
from modelgrid.domain.deployment import Deployment, DeploymentState, Failure, Intent
from modelgrid.domain.engine import EngineExit, EngineRef
from modelgrid.domain.ids import DeploymentId, GpuId, ModelId, NodeName
from modelgrid.domain.placement import Decision, MemoryNeed, Placement
from modelgrid.domain.target import Origin, RuntimeKind

DRAIN = 30.0
NEED = MemoryNeed(gpu_count=1, terms=())
DECISION = Decision(node=NodeName("n"), gpus=(GpuId("nvidia-0"),), need=NEED, summary="placed")
PLACED = Placement(node=NodeName("n"), gpus=(GpuId("nvidia-0"),), decision=DECISION, placed_at=1.0)
ENGINE = EngineRef(
    runtime=RuntimeKind.PROCESS, id="42:1", deployment=DeploymentId("m-aaaaaa"), attempt=1, url="http://127.0.0.1:2"
)


def a_deployment(**facts: Any) -> Deployment:
    base = Deployment(
        id=DeploymentId("m-aaaaaa"),
        target="m",
        model=ModelId("m"),
        origin=Origin.API,
        runtime=RuntimeKind.PROCESS,
        created_at=0.0,
    )
    return replace(base, **facts)


def failures(count: int, at: float = 100.0) -> tuple[Failure, ...]:
    return tuple(Failure(attempt=n, exit=EngineExit(at=at, code=1)) for n in range(1, count + 1))


RUNNING = {"placement": PLACED, "attempt": 1, "engine": ENGINE, "pulled_at": 2.0, "started_at": 3.0, "ready_at": 4.0}
REFUSAL = Decision(need=NEED, summary="no GPU has 17.6 GiB free")

WALK: list[tuple[str, dict[str, Any], Step, DeploymentState]] = [
    ("new", {}, Step.IDLE, DeploymentState.PENDING),
    ("refused", {"refusal": REFUSAL}, Step.IDLE, DeploymentState.PENDING),
    ("placed", {"placement": PLACED}, Step.BEGIN, DeploymentState.PENDING),
    ("attempt open", {"placement": PLACED, "attempt": 1}, Step.PREPARE, DeploymentState.PENDING),
    (
        "pulling",
        {"placement": PLACED, "attempt": 1, "pull_started_at": 1.0},
        Step.PREPARE,
        DeploymentState.PULLING,
    ),
    ("pulled", {"placement": PLACED, "attempt": 1, "pulled_at": 2.0}, Step.START, DeploymentState.STARTING),
    ("started", RUNNING | {"ready_at": None}, Step.AWAIT_READY, DeploymentState.STARTING),
    ("ready", RUNNING, Step.WATCH, DeploymentState.RUNNING),
    ("silent", RUNNING | {"unhealthy_since": 5.0}, Step.WATCH, DeploymentState.RUNNING),
    ("stop asked", RUNNING | {"intent": Intent.STOP}, Step.DRAIN, DeploymentState.DRAINING),
    (
        "drained",
        RUNNING | {"intent": Intent.STOP, "drain_started_at": 5.0, "stop_started_at": 6.0},
        Step.STOP,
        DeploymentState.STOPPING,
    ),
    (
        "drain took too long",
        RUNNING | {"intent": Intent.STOP, "drain_started_at": 100.0 - DRAIN},
        Step.STOP,
        DeploymentState.DRAINING,
    ),
    (
        "stop while it loads",
        RUNNING | {"intent": Intent.STOP, "ready_at": None},
        Step.STOP,
        DeploymentState.STOPPING,
    ),
    (
        "stopped",
        {"placement": PLACED, "attempt": 1, "intent": Intent.STOP, "engine_gone_at": 7.0},
        Step.IDLE,
        DeploymentState.STOPPED,
    ),
    (
        "remove, engine gone",
        {"placement": PLACED, "attempt": 1, "intent": Intent.REMOVE, "engine_gone_at": 7.0},
        Step.ARCHIVE,
        DeploymentState.STOPPED,
    ),
    (
        "remove before it was begun: somebody has to say that nothing is there",
        {"placement": PLACED, "intent": Intent.REMOVE},
        Step.STOP,
        DeploymentState.STOPPED,
    ),
    (
        "stopped while it was being started",
        {"placement": PLACED, "attempt": 1, "pulled_at": 2.0, "intent": Intent.STOP},
        Step.STOP,
        DeploymentState.STOPPED,
    ),
    ("remove before it was placed", {"intent": Intent.REMOVE}, Step.ARCHIVE, DeploymentState.STOPPED),
    (
        "failed once",
        {"placement": PLACED, "attempt": 1, "engine": ENGINE, "failures": failures(1)},
        Step.WAIT,
        DeploymentState.RESTARTING,
    ),
    (
        "wait over",
        {"placement": PLACED, "attempt": 1, "failures": failures(1, at=50.0)},
        Step.BEGIN,
        DeploymentState.RESTARTING,
    ),
    (
        "the clock was set back by an hour",
        {"placement": PLACED, "attempt": 1, "failures": failures(1, at=3700.0)},
        Step.BEGIN,
        DeploymentState.RESTARTING,
    ),
    (
        "second attempt open",
        {"placement": PLACED, "attempt": 2, "failures": failures(1), "pulled_at": 2.0},
        Step.START,
        DeploymentState.STARTING,
    ),
    (
        "given up",
        {"placement": PLACED, "attempt": GIVE_UP_AFTER, "failures": failures(GIVE_UP_AFTER)},
        Step.IDLE,
        DeploymentState.FAILED,
    ),
    ("restart asked", RUNNING | {"restart_requested": True}, Step.DRAIN, DeploymentState.RESTARTING),
    (
        "restart asked after it was given up",
        {
            "placement": PLACED,
            "attempt": GIVE_UP_AFTER,
            "failures": failures(GIVE_UP_AFTER),
            "restart_requested": True,
        },
        Step.BEGIN,
        DeploymentState.RESTARTING,
    ),
    ("start asked, to be placed anew", {"attempt": 1, "restart_requested": True}, Step.IDLE, DeploymentState.PENDING),
    ("removed", {"removed_at": 9.0, "intent": Intent.REMOVE}, Step.IDLE, DeploymentState.STOPPED),
]


@pytest.mark.parametrize(("facts", "step", "state"), [row[1:] for row in WALK], ids=[row[0] for row in WALK])
def test_facts_lead_to_one_step_and_one_state(facts: dict[str, Any], step: Step, state: DeploymentState) -> None:
    deployment = a_deployment(**facts)
    assert next_step(deployment, 100.0, drain_seconds=DRAIN).step is step
    assert classify(deployment, 100.0).state is state


@pytest.mark.parametrize("facts", [row[1] for row in WALK], ids=[row[0] for row in WALK])
def test_every_state_says_why(facts: dict[str, Any]) -> None:
    assert classify(a_deployment(**facts), 100.0).reason or not facts.get("intent_reason")


def test_a_pending_deployment_says_what_is_missing() -> None:
    assert classify(a_deployment(refusal=REFUSAL), 100.0).reason == REFUSAL.summary


def test_a_wait_says_until_when() -> None:
    deployment = a_deployment(placement=PLACED, attempt=1, failures=failures(1))
    until = next_step(deployment, 100.0, drain_seconds=DRAIN).until
    assert until is not None
    assert 101.0 < until < 103.0
