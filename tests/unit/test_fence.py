"""When a node gives up what may run only once, also when its daemon restarts while it is cut off."""

import pytest
from memory_store import MemoryStore

from modelgrid.decide.fence import FENCE_AFTER_HEARTBEATS, NOTICE_HEARTBEATS, Assurance
from modelgrid.decide.liveness import LOST_AFTER_HEARTBEATS
from modelgrid.ports.clock import Clock
from modelgrid.services.cluster.fence import Fence

T = 1_000.0
ANSWERED = Assurance().answered(T)
REMEMBERED = Assurance.remembered(T, T + 3)


def unanswered(known: Assurance, at: float, *, refused: bool = False) -> Assurance:
    return known.unanswered(at, refused=refused)


@pytest.mark.parametrize(
    ("known", "after", "stops"),
    [
        (ANSWERED, 24.9, False),
        (ANSWERED, 25.0, True),
        (unanswered(ANSWERED, T + 20), 24.9, False),
        (unanswered(ANSWERED, T + 20), 25.0, True),
        (unanswered(ANSWERED, T + 20, refused=True), 25.0, False),
        (unanswered(ANSWERED, T + 9_000, refused=True), 9_001.0, False),
        (unanswered(unanswered(ANSWERED, T + 9_000, refused=True), T + 9_001), 9_011.0, False),
        (unanswered(unanswered(ANSWERED, T + 9_000, refused=True), T + 9_001), 9_025.0, True),
        (Assurance(), 9_000.0, False),
        (unanswered(Assurance(), T), 0.1, True),
        (unanswered(Assurance(), T, refused=True), 0.1, True),
        (REMEMBERED, 24.9, False),
        (REMEMBERED, 25.0, True),
        (unanswered(REMEMBERED, T + 20, refused=True), 25.0, True),
    ],
)
def test_who_is_cut_off_stops_what_is_exclusive(known: Assurance, after: float, stops: bool) -> None:
    assert known.must_stop(T + after, 5.0) is stops


@pytest.mark.parametrize(
    ("known", "after", "starts"),
    [
        (Assurance(), 0.0, False),
        (unanswered(Assurance(), T, refused=True), 0.1, False),
        (ANSWERED, 0.1, True),
        (ANSWERED, 25.0, False),
        (unanswered(ANSWERED, T + 9_000, refused=True), 9_001.0, True),
        (REMEMBERED, 3.1, False),
        (REMEMBERED.answered(T + 4), 4.1, True),
    ],
)
def test_what_is_exclusive_starts_only_after_an_answer(known: Assurance, after: float, starts: bool) -> None:
    assert known.may_start(T + after, 5.0) is starts


@pytest.mark.parametrize("heartbeat", [0.5, 1.0, 5.0, 30.0])
@pytest.mark.parametrize("noticed_after", [0, 1, 1.5, 2])
def test_a_node_has_stopped_before_it_is_lost(heartbeat: float, noticed_after: float) -> None:
    """However late it noticed within what is left: it is killed after the grace, one heartbeat before."""
    noticed = T + (FENCE_AFTER_HEARTBEATS + noticed_after) * heartbeat
    grace = ANSWERED.stop_grace_seconds(noticed, heartbeat)
    assert grace >= 0
    assert noticed + grace <= T + (LOST_AFTER_HEARTBEATS - NOTICE_HEARTBEATS) * heartbeat


def test_there_is_time_to_end_but_where_nobody_knows_how_much_is_left() -> None:
    assert ANSWERED.stop_grace_seconds(T + 1, 5.0) == 10
    assert ANSWERED.stop_grace_seconds(T + 25, 5.0) == 10
    assert ANSWERED.stop_grace_seconds(T + 9_000, 5.0) == 0
    assert unanswered(Assurance(), T).stop_grace_seconds(T + 1, 5.0) == 0


class SetClock(Clock):
    def __init__(self) -> None:
        self.at = T

    def now(self) -> float:
        raise AssertionError("wall clocks are set")

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


async def started(store: MemoryStore, clock: Clock) -> Fence:
    fence = Fence(store, clock)
    await fence.load()
    return fence


async def test_a_daemon_that_restarts_knows_for_how_long_its_node_is_cut_off() -> None:
    store, clock = MemoryStore(), SetClock()
    before = await started(store, clock)
    before.answered(T)
    await before.remember(5.0)
    clock.at = T + 26
    after = await started(store, clock)  # and its first heartbeat hangs
    assert after.must_stop(5.0)
    assert after.stop_grace_seconds(5.0) == 9
    assert not after.may_start(5.0)
    after.answered(T + 26)
    assert not after.must_stop(5.0)
    assert after.may_start(5.0)


async def test_answers_that_follow_each_other_closely_are_stored_once() -> None:
    store, clock = MemoryStore(), SetClock()
    fence = await started(store, clock)
    for after in (0.0, 0.1, 2.4):
        fence.answered(T + after)
        await fence.remember(5.0)
    clock.at = T + 25
    assert (await started(store, clock)).must_stop(5.0)
    fence.answered(T + 2.5)
    await fence.remember(5.0)
    assert not (await started(store, clock)).must_stop(5.0)


async def test_what_is_remembered_of_before_the_machine_started_counts_for_nothing() -> None:
    store, clock = MemoryStore(), SetClock()
    fence = await started(store, clock)
    fence.answered(T)
    await fence.remember(5.0)
    clock.at = 12.0
    fence = await started(store, clock)
    assert not fence.must_stop(5.0)
    fence.unanswered(12.0, refused=False)
    assert fence.must_stop(5.0)
