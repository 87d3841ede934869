"""Silence in listened seconds, and what it means."""

import pytest

from modelgrid.decide.liveness import LONGEST_LOOK_SECONDS, ListeningClock, answer_seconds, liveness
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


@pytest.mark.parametrize(("heartbeat", "seconds"), [(1, 5), (5, 5), (7.5, 7.5), (10, 10), (60, 10)])
def test_an_answer_is_waited_for_about_a_heartbeat(heartbeat: float, seconds: float) -> None:
    assert answer_seconds(heartbeat) == seconds
