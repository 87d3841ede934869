"""Orders and facts: who owns what of a deployment, and that messages may be lost, repeated and late."""

from dataclasses import replace
from typing import Any

import pytest

from modelgrid.decide.assignment import FACTS, accepted, dismissed, fenced, informed, obeyed, order_of, told
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.engine import EngineRef
from modelgrid.domain.ids import DeploymentId, ModelId, NodeName
from modelgrid.domain.placement import Decision, MemoryNeed, Placement, Verdict
from modelgrid.domain.target import EngineSpec, Origin, RuntimeKind


def placement(epoch: int = 1, node: str = "worker-a") -> Placement:
    decision = Decision(node=NodeName(node), need=MemoryNeed(gpu_count=0, terms=()), summary="placed")
    return Placement(node=NodeName(node), gpus=(), decision=decision, placed_at=1.0, epoch=epoch)


def row(**facts: Any) -> Deployment:
    values: dict[str, Any] = {
        "id": DeploymentId("one-000001"),
        "target": "m",
        "model": ModelId("m"),
        "origin": Origin.API,
        "spec": EngineSpec(env={"TOKEN": "sealed"}),
        "runtime": RuntimeKind.SIMULATED,
        "created_at": 1.0,
        "placement": placement(),
    }
    return Deployment(**{**values, **facts})


def order(deployment: Deployment) -> Any:
    return order_of(deployment, replace(deployment.spec, env={"TOKEN": "open"}), exclusive=False)


ENGINE = EngineRef(
    runtime=RuntimeKind.SIMULATED, id="7:9", deployment=DeploymentId("one-000001"), attempt=2, url="http://127.0.0.1:9"
)
RAN = {"attempt": 2, "engine": ENGINE, "pulled_at": 2.0, "started_at": 3.0, "ready_at": 4.0, "port": 9}


def test_an_accepted_order_is_the_row_without_what_becomes_of_it() -> None:
    theirs = row(**RAN, refusal=None, revision=7)
    mine = accepted(order(theirs), EngineSpec(env={"TOKEN": "sealed again"}))
    assert mine == row(spec=EngineSpec(env={"TOKEN": "sealed again"}))


def test_the_same_order_twice_changes_nothing() -> None:
    here = row(**RAN)
    assert obeyed(here, order(here)) == here
    wanted = row(intent=Intent.STOP, intent_reason="stop requested", intent_at=5.0)
    once = obeyed(here, order(wanted))
    assert once == row(**RAN, intent=Intent.STOP, intent_reason="stop requested", intent_at=5.0)
    assert obeyed(once, order(wanted)) == once


def test_a_change_of_intent_begins_a_drain_of_its_own() -> None:
    here = row(**RAN, intent=Intent.STOP, drain_started_at=5.0, stop_started_at=6.0)
    again = obeyed(here, order(row(restarts_asked=1)))
    assert (again.intent, again.drain_started_at, again.stop_started_at) == (Intent.RUN, None, None)
    assert again.restart_requested


def test_a_restart_that_is_heard_of_twice_restarts_once() -> None:
    wanted = order(row(restarts_asked=3))
    once = obeyed(row(**RAN, restarts_asked=2), wanted)
    assert once.restart_requested
    assert once.restarts_asked == 3
    begun = replace(once, restart_requested=False, attempt=3)
    assert obeyed(begun, wanted) == begun


def test_an_order_of_an_earlier_placement_is_void() -> None:
    here = row(**RAN, placement=placement(epoch=2))
    assert obeyed(here, order(row(intent=Intent.REMOVE))) == here
    newer = obeyed(row(**RAN), order(row(placement=placement(epoch=2))))
    assert newer.placement == placement(epoch=2)


def test_facts_come_back_and_wishes_do_not() -> None:
    mine = row(intent=Intent.STOP, intent_reason="stop requested", restarts_asked=4, revision=9)
    theirs = row(**RAN, spec=EngineSpec(), intent=Intent.RUN, restarts_asked=4, revision=2)
    told = informed(mine, theirs)
    assert told == replace(mine, **RAN)
    assert informed(told, theirs) == told


@pytest.mark.parametrize("theirs", [placement(epoch=2), placement(node="worker-b"), None])
def test_facts_of_another_placement_are_none(theirs: Placement | None) -> None:
    assert informed(row(), row(**RAN, placement=theirs)) == row()


def test_a_restart_stands_until_its_node_has_heard_of_it() -> None:
    asked = row(restart_requested=True, restarts_asked=2)
    assert informed(asked, row(**RAN, restarts_asked=1)).restart_requested
    assert informed(asked, row(**RAN, restarts_asked=2, restart_requested=True)).restart_requested
    assert not informed(asked, row(**RAN, restarts_asked=2)).restart_requested


def test_every_fact_is_taken_over() -> None:
    told: dict[str, Any] = dict.fromkeys(FACTS, 1.0) | {"attempt": 3, "port": 4, "engine": ENGINE, "failures": ()}
    found = informed(row(), row(**told))
    assert {name: getattr(found, name) for name in FACTS} == told


def test_what_is_dismissed_drains() -> None:
    gone = dismissed(row(**RAN, restart_requested=True), "not wanted", 9.0)
    assert (gone.intent, gone.intent_reason, gone.intent_at) == (Intent.REMOVE, "not wanted", 9.0)
    assert (gone.restart_requested, gone.drain_started_at, gone.stop_started_at) == (False, None, None)
    assert dismissed(gone, "once more", 10.0) == gone


def test_what_is_fenced_ends_at_once_and_runs_again_when_it_is_ordered_again() -> None:
    cut_off = fenced(row(**RAN), "cut off", 9.0)
    assert (cut_off.intent, cut_off.drain_started_at, cut_off.stop_started_at) == (Intent.STOP, 9.0, 9.0)
    assert fenced(cut_off, "cut off", 10.0) == cut_off
    again = obeyed(cut_off, order(row(**RAN)))
    assert (again.intent, again.restart_requested, again.stop_started_at) == (Intent.RUN, True, None)
    draining = row(**RAN, intent=Intent.REMOVE, drain_started_at=5.0)
    assert fenced(draining, "cut off", 9.0).stop_started_at == 9.0, "what drains already ends faster"


def test_what_is_told_of_an_ordered_deployment_leaves_out_what_was_ordered_and_informs_alike() -> None:
    verdict = Verdict(node=NodeName("worker-a"), code="chosen", reason="chosen", chosen=True)
    place = placement()
    here = row(**RAN, placement=replace(place, decision=replace(place.decision, verdicts=(verdict,), omitted={"x": 9})))
    said = told(here)
    assert said.spec == EngineSpec()
    assert said.placement is not None
    assert (said.placement.node, said.placement.epoch, said.placement.decision.verdicts) == (
        place.node,
        place.epoch,
        (),
    )
    assert informed(row(), said) == informed(row(), here) == row(**RAN)
