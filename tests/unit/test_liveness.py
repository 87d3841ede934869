"""Silence in listened seconds, what it means, and when a node gives up what may run only once."""

import pytest

from modelgrid.decide.fence import (
    FENCE_AFTER_HEARTBEATS,
    Outcome,
    may_start_exclusive,
    must_stop_exclusive,
    stop_grace_seconds,
)
from modelgrid.decide.liveness import LONGEST_LOOK_SECONDS, LOST_AFTER_HEARTBEATS, ListeningClock, liveness
from modelgrid.domain.node import NodeLiveness

READY, SUSPECT, LOST = NodeLiveness.READY, NodeLiveness.SUSPECT, NodeLiveness.LOST


def listened(*looks: float) -> ListeningClock:
    clock = ListeningClock()
    for at in looks:
        clock = clock.look(at)
    return clock


@pytest.mark.parametrize(
    ("silent", "heartbeat", "expected"),
    [
        (0, 5, READY),
        (14.9, 5, READY),
        (15, 5, SUSPECT),
        (39.9, 5, SUSPECT),
        (40, 5, LOST),
        (1e9, 5, LOST),
        (2.9, 1, READY),
        (3, 1, SUSPECT),
        (8, 1, LOST),
        (15, 30, READY),
        (90, 30, SUSPECT),
        (240, 30, LOST),
    ],
)
def test_silence_tells_the_liveness(silent: float, heartbeat: float, expected: NodeLiveness) -> None:
    assert liveness(silent, heartbeat) is expected


@pytest.mark.parametrize(
    ("looks", "seconds"),
    [
        ((), 0),
        ((100,), 0),
        ((100, 101, 102), 2),
        ((100, 101.5, 103), 3),
        ((100, 160), LONGEST_LOOK_SECONDS),
        ((100, 160, 161), LONGEST_LOOK_SECONDS + 1),
        ((100, 90, 91), 1),
    ],
    ids=["not started", "first look", "regular", "late", "stalled a minute", "and on again", "clock went back"],
)
def test_time_is_counted_while_somebody_looks(looks: tuple[float, ...], seconds: float) -> None:
    assert listened(*looks).seconds == seconds


def test_a_stalled_control_plane_calls_nobody_lost() -> None:
    clock = listened(*range(0, 10))
    heard_at = clock.seconds
    clock = clock.look(600)  # it was stopped for ten minutes, and the heartbeats are still in its sockets
    assert liveness(clock.silence(heard_at), 5) is READY


def test_a_restarted_control_plane_begins_with_silence_nought() -> None:
    assert listened(1_000_000.0).silence() == 0
    clock = listened(*range(0, 40))
    assert liveness(clock.silence(), 5) is SUSPECT
    assert liveness(clock.look(40).silence(), 5) is LOST


@pytest.mark.parametrize(
    ("since", "outcome", "stops"),
    [
        (0.1, Outcome.ANSWERED, False),
        (24.9, Outcome.UNANSWERED, False),
        (25.0, Outcome.UNANSWERED, True),
        (25.0, Outcome.ANSWERED, True),
        (25.0, Outcome.REFUSED, False),
        (9_000.0, Outcome.REFUSED, False),
        (9_000.0, Outcome.UNANSWERED, True),
        (None, Outcome.NONE_YET, False),
        (None, Outcome.REFUSED, True),
        (None, Outcome.UNANSWERED, True),
    ],
)
def test_who_is_cut_off_stops_what_is_exclusive(since: float | None, outcome: Outcome, stops: bool) -> None:
    assert must_stop_exclusive(since, outcome, 5.0) is stops


@pytest.mark.parametrize(
    ("since", "outcome", "starts"),
    [
        (None, Outcome.NONE_YET, False),
        (None, Outcome.REFUSED, False),
        (0.1, Outcome.ANSWERED, True),
        (9_000.0, Outcome.REFUSED, True),
        (25.0, Outcome.UNANSWERED, False),
    ],
)
def test_what_is_exclusive_starts_only_after_an_answer(since: float | None, outcome: Outcome, starts: bool) -> None:
    assert may_start_exclusive(since, outcome, 5.0) is starts


@pytest.mark.parametrize("heartbeat", [0.5, 1.0, 5.0, 30.0])
def test_a_node_has_stopped_before_it_is_lost(heartbeat: float) -> None:
    """Noticed one heartbeat late at worst, and killed after the grace."""
    ended = (FENCE_AFTER_HEARTBEATS + 1) * heartbeat + stop_grace_seconds(heartbeat)
    assert stop_grace_seconds(heartbeat) > 0
    assert ended <= LOST_AFTER_HEARTBEATS * heartbeat
