"""When a node that cannot reach its control plane ends the engines that may run only once. Pure.

The control plane gives such an engine to another node when this one is lost, eight heartbeats after it last heard of
it. Whatever it heard was sent earlier, so a node that counts from the *sending* of its last answered heartbeat counts
longer than the control plane does. It begins to stop after five; what stopping takes has to fit into the rest.
"""

from enum import StrEnum

from modelgrid.decide.liveness import LOST_AFTER_HEARTBEATS

FENCE_AFTER_HEARTBEATS = 5


class Outcome(StrEnum):
    """What became of the last heartbeat."""

    NONE_YET = "none_yet"
    """The daemon has just started: the first one is under way."""
    ANSWERED = "answered"
    REFUSED = "refused"
    """The control plane's host is there and refused the connection: nobody listens, so nobody gives anything away."""
    UNANSWERED = "unanswered"
    """Nothing came back, or not from the control plane: it may well be there and miss this node."""


def must_stop_exclusive(
    seconds_since_answered_was_sent: float | None, last_outcome: Outcome, heartbeat_seconds: float
) -> bool:
    """Return whether the node's exclusive deployments have to end now, without draining.

    `seconds_since_answered_was_sent` is by a clock that never jumps; `None` when no heartbeat was answered since the
    daemon started. Then nobody knows how long it was silent before, nor what was given away meanwhile, and the first
    one that is not answered decides."""
    if last_outcome is Outcome.NONE_YET:
        return False
    if seconds_since_answered_was_sent is None:
        return True
    if last_outcome is Outcome.REFUSED:
        return False
    return seconds_since_answered_was_sent >= FENCE_AFTER_HEARTBEATS * heartbeat_seconds


def may_start_exclusive(
    seconds_since_answered_was_sent: float | None, last_outcome: Outcome, heartbeat_seconds: float
) -> bool:
    """Return whether an exclusive deployment may be started: never before the control plane has answered once."""
    if seconds_since_answered_was_sent is None:
        return False
    return not must_stop_exclusive(seconds_since_answered_was_sent, last_outcome, heartbeat_seconds)


def stop_grace_seconds(heartbeat_seconds: float) -> float:
    """Return how long an engine that has to end may take before it is killed. One heartbeat of the time that is left
    until the node is lost is for noticing."""
    return (LOST_AFTER_HEARTBEATS - FENCE_AFTER_HEARTBEATS - 1) * heartbeat_seconds
