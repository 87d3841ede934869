"""The verdict over the fleet, rule by rule."""

from dataclasses import replace
from typing import Any

import pytest
from store_values import DECISION, deployment, target

from modelgrid.decide.classify import classify
from modelgrid.decide.first_seen import Seen, dated
from modelgrid.decide.gpu_health import gpu_faults
from modelgrid.decide.verdict import FleetFacts, Severity, Word, judge
from modelgrid.domain.deployment import Deployment, DeploymentState, Diagnosis, Intent
from modelgrid.domain.gpu import Gpu, GpuInventory, GpuVendor
from modelgrid.domain.ids import DeploymentId, GpuId, NodeName
from modelgrid.domain.node import Node, NodeLiveness
from modelgrid.domain.placement import Placement

NOW = 10_000.0
NODE = Node(name=NodeName("here"), heartbeat_at=NOW, inventory=GpuInventory(taken_at=NOW))
WELL = FleetFacts(nodes=(NODE,), targets=(), deployments=(), gateways=1, gateways_wanted=1, started_at=NOW - 100)
BROKEN = GpuInventory(taken_at=NOW - 50, stale=True, problem="The driver does not answer.")


def test_nothing_wrong_is_healthy() -> None:
    found = judge(WELL, NOW)
    assert (found.word, found.reasons) == (Word.HEALTHY, ())
    assert found.sentence == "Healthy: All is well."


@pytest.mark.parametrize(
    ("facts", "word", "code"),
    [
        (replace(WELL, gateways=0), Word.DOWN, "no_gateway"),
        (replace(WELL, gateways_wanted=2), Word.DEGRADED, "gateway_missing"),
        (replace(WELL, nodes=(NODE, replace(NODE, liveness=NodeLiveness.LOST))), Word.DEGRADED, "node_lost"),
        (replace(WELL, nodes=(replace(NODE, liveness=NodeLiveness.SUSPECT),)), Word.DEGRADED, "node_suspect"),
        (replace(WELL, nodes=(replace(NODE, liveness=NodeLiveness.LOST),)), Word.UNKNOWN, "node_lost"),
        (replace(WELL, nodes=(replace(NODE, inventory=BROKEN),)), Word.DEGRADED, "gpus_stale"),
        (replace(WELL, targets=(target(updated_at=0.0),)), Word.DOWN, "target_short"),
        (replace(WELL, problems=("x",)), Word.DEGRADED, "not_as_configured"),
        (replace(WELL, log_problem="x"), Word.DEGRADED, "log_not_kept"),
        (replace(WELL, disk_free_bytes=4, disk_total_bytes=100), Word.DEGRADED, "disk_nearly_full"),
        (replace(WELL, catalog_problems={"registry": "x"}), Word.HEALTHY, "catalog_unreachable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_rule_gives_its_reason(facts: FleetFacts, word: Word, code: str) -> None:
    found = judge(facts, NOW)
    assert (found.word, [reason.code for reason in found.reasons]) == (word, [code])
    assert all(r.cause and r.impact and r.subject and r.link.startswith("/") for r in found.reasons)


def gpu(**readings: Any) -> Gpu:
    memory = {"vram_total_bytes": 10, "vram_used_bytes": 1, "vram_free_bytes": 9}
    return Gpu(id=GpuId("nvidia-0"), vendor=GpuVendor.NVIDIA, index=0, uuid="GPU-0", name="L4", **memory, **readings)


@pytest.mark.parametrize(
    ("readings", "codes"),
    [
        ({}, []),
        ({"xid_errors": (79, 31)}, ["gpu_fault"]),
        ({"ecc_uncorrected_errors": 1}, ["gpu_fault"]),
        ({"throttle_reasons": ("software_power_cap", "hardware_thermal_slowdown")}, ["gpu_throttled"]),
        ({"xid_errors": (48,), "ecc_uncorrected_errors": 2, "throttle_reasons": ("hardware_slowdown",)},
         ["gpu_fault", "gpu_fault", "gpu_throttled"]),
        # An application's own errors, and what every GPU does under load.
        ({"xid_errors": (13, 31, 43, 45), "throttle_reasons": ("software_power_cap",)}, []),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_gpu_is_a_reason_that_leads_to_its_card(readings: Any, codes: list[str]) -> None:
    node = replace(NODE, inventory=GpuInventory(taken_at=NOW, gpus=(gpu(**readings),)))
    found = judge(replace(WELL, nodes=(node,)), NOW)
    assert [reason.code for reason in found.reasons] == codes
    assert {reason.link for reason in found.reasons} <= {"/gpus/devices?q=here%2Fnvidia-0"}
    assert len(codes) == len(gpu_faults(gpu(**readings)))
    assert found.word is (Word.DEGRADED if codes else Word.HEALTHY)


def test_what_failed_says_since_when() -> None:
    tried = deployment(engine=None, attempt=1, started_at=None)
    (reason,) = judge(replace(WELL, deployments=(tried,)), NOW).reasons
    assert reason.since == tried.failures[-1].exit.at


def test_a_deployment_without_a_place_needs_somebody_after_a_while() -> None:
    waits = deployment(
        placement=None, refusal=None, failures=(), engine=None, started_at=None, ready_at=None, pulled_at=None,
        pull_started_at=None, restart_requested=False, created_at=NOW - 30,
    )  # fmt: skip
    assert classify(waits, NOW).state is DeploymentState.PENDING
    assert judge(replace(WELL, deployments=(waits,)), NOW).word is Word.HEALTHY
    later = judge(replace(WELL, deployments=(waits,)), NOW + 60)
    assert [(r.code, r.since, r.subject) for r in later.reasons] == [("deployment_pending", NOW - 30, waits.id)]


def test_the_worst_comes_first() -> None:
    facts = replace(WELL, gateways=0, problems=("x",), catalog_problems={"registry": "y"})
    severities = [reason.severity for reason in judge(facts, NOW).reasons]
    assert severities == [Severity.CRITICAL, Severity.WARNING, Severity.NOTE]


def test_gateways_get_a_moment_after_the_start() -> None:
    assert judge(replace(WELL, gateways=0, started_at=NOW - 1), NOW).word is Word.HEALTHY


FIRST = deployment(
    "first",
    attempt=1,
    failures=(),
    placement=Placement(node=NODE.name, gpus=(), decision=DECISION, placed_at=NOW),
    started_at=NOW - 9,
    created_at=NOW - 9,
)
"""Starts for the first time."""
SERVING = replace(FIRST, id=DeploymentId("serving"), ready_at=NOW - 5)
(FAILED_ONCE,) = deployment().failures
TRIED = replace(FIRST, failures=(FAILED_ONCE,), engine=None, started_at=None)
FOR_GOOD = replace(FAILED_ONCE, diagnosis=Diagnosis(code="x", cause="x", remedy="x", retry=False))
HOMELESS = replace(FIRST, attempt=0, engine=None, started_at=None, placement=None)
LOST = replace(NODE, liveness=NodeLiveness.LOST)
OTHER = replace(NODE, name=NodeName("there"))


@pytest.mark.parametrize(
    ("item", "state", "code"),
    [
        (TRIED, "restarting", "restarting"),
        (replace(TRIED, attempt=2, pull_started_at=NOW), "pulling", "restarting"),
        (replace(TRIED, attempt=2, started_at=NOW), "starting", "restarting"),
        (replace(TRIED, failures=(FOR_GOOD,)), "failed", "failed"),
        (replace(HOMELESS, refusal=DECISION), "pending", "pending"),
        (replace(HOMELESS, created_at=NOW - 61), "pending", "pending"),
        (replace(SERVING, unhealthy_since=NOW - 1), "running", "unhealthy"),
    ],
)
def test_it_is_down_when_the_only_one_that_is_to_run_does_not_answer(item: Deployment, state: str, code: str) -> None:
    assert classify(item, NOW).state == state
    facts = replace(WELL, targets=(target(replicas=1),), deployments=(item,))
    found = judge(facts, NOW)
    assert found.word is Word.DOWN
    assert [(r.code, r.severity) for r in found.reasons] == [(f"deployment_{code}", Severity.CRITICAL)]
    starts = replace(FIRST, id=DeploymentId("another"))
    assert judge(replace(facts, deployments=(item, starts)), NOW).word is Word.DOWN, "no model is answered yet"
    another = replace(SERVING, id=DeploymentId("another"), target="another")
    assert judge(replace(facts, deployments=(item, another)), NOW).word is Word.DEGRADED, "a model is answered"
    assert judge(replace(facts, served_elsewhere=True), NOW).word is Word.DEGRADED
    assert judge(replace(facts, deployments=(item, another), nodes=(LOST, OTHER)), NOW).word is Word.DOWN


@pytest.mark.parametrize(
    "item",
    [
        HOMELESS,
        replace(FIRST, started_at=None, pull_started_at=NOW),
        FIRST,
        replace(SERVING, restart_requested=True),
        replace(FIRST, attempt=2),
        replace(SERVING, intent=Intent.STOP),
        replace(SERVING, intent=Intent.STOP, engine=None),
        replace(SERVING, intent=Intent.REMOVE),
    ],
    ids=["pending", "pulling", "starting", "restart asked", "started anew", "draining", "stopped", "removed"],
)
def test_a_first_start_and_what_was_asked_for_are_not_down(item: Deployment) -> None:
    facts = replace(WELL, targets=(target(replicas=item.intent is not Intent.REMOVE),), deployments=(item,))
    assert judge(facts, NOW).word is Word.HEALTHY


def test_a_fleet_of_which_nothing_is_asked_is_not_down() -> None:
    assert judge(replace(WELL, targets=(target(replicas=0),)), NOW).word is Word.HEALTHY


def test_what_ran_on_a_lost_node_is_down_until_it_runs_elsewhere() -> None:
    gone, follows = (
        replace(SERVING, intent=Intent.REMOVE),
        replace(FIRST, placement=Placement(node=OTHER.name, gpus=(), decision=DECISION, placed_at=NOW)),
    )
    facts = replace(WELL, nodes=(LOST, OTHER), targets=(target(replicas=1),), deployments=(gone, follows))
    assert judge(facts, NOW).word is Word.DOWN
    assert judge(replace(facts, deployments=(gone, replace(follows, ready_at=NOW))), NOW).word is Word.DEGRADED
    assert judge(replace(facts, targets=(), deployments=(gone,)), NOW).word is Word.DEGRADED, "nobody wants it"


UNDATED: dict[str, dict[str, Any]] = {
    "no_gateway": {"gateways": 0},
    "gateway_missing": {"gateways_wanted": 2},
    "gpus_problem": {"nodes": (replace(NODE, inventory=GpuInventory(taken_at=NOW, problem="x")),)},
    "gpu_fault": {"nodes": (replace(NODE, inventory=GpuInventory(taken_at=NOW, gpus=(gpu(xid_errors=(79,)),))),)},
    "target_short": {"targets": (target(updated_at=0.0),)},
    "disk_nearly_full": {"disk_free_bytes": 4, "disk_total_bytes": 100},
    "log_not_kept": {"log_problem": "x"},
    "not_as_configured": {"problems": ("x",)},
    "catalog_unreachable": {"catalog_problems": {"registry": "x"}},
}


@pytest.mark.parametrize("code", UNDATED)
def test_what_no_fact_dates_holds_since_it_was_first_seen_without_a_gap(code: str) -> None:
    wrong = replace(WELL, **UNDATED[code])
    seen: Seen = {}
    looks = [(WELL, None), (wrong, 2.0), (wrong, 2.0), (WELL, None), (wrong, 5.0), (wrong, 5.0)]
    for second, (facts, since) in enumerate(looks, start=1):
        found, seen = dated(judge(facts, NOW + second), seen, NOW + second)
        assert [(r.code, r.since) for r in found.reasons] == ([(code, NOW + since)] if since is not None else [])
    before, seen = dated(judge(wrong, NOW), seen, NOW)
    assert [r.since for r in before.reasons] == [NOW], "the clock was set back"


def test_a_date_that_the_facts_tell_is_theirs() -> None:
    silent = replace(WELL, nodes=(replace(NODE, liveness=NodeLiveness.SUSPECT, heartbeat_at=NOW - 30),))
    found, _ = dated(judge(silent, NOW), {("node_suspect", "here"): NOW - 5}, NOW)
    assert [r.since for r in found.reasons] == [NOW - 30]


def test_reasons_of_one_code_are_dated_each_for_itself() -> None:
    sources = {"registry": "x", "ours": "y"}
    one = replace(WELL, problems=("x",), catalog_problems={"registry": "x"})
    _, seen = dated(judge(one, NOW), {}, NOW)
    two = replace(one, problems=("x", "y"), catalog_problems=sources)
    found, _ = dated(judge(two, NOW + 7), seen, NOW + 7)
    assert [r.since for r in found.reasons] == [NOW, NOW + 7, NOW, NOW + 7]
