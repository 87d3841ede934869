"""Whether a node is still there: how long it has been silent, in seconds during which somebody listened. Pure.

A control plane that was stalled, stopped or restarted heard nobody, and that says nothing about the nodes. So silence
is not counted on the clock on the wall but on one that only goes while the control plane looks at it.
"""

from dataclasses import dataclass, replace

from modelgrid.domain.node import NodeLiveness

SUSPECT_AFTER_HEARTBEATS = 3
LOST_AFTER_HEARTBEATS = 8
SHORTEST_ANSWER_SECONDS, LONGEST_ANSWER_SECONDS = 5.0, 10.0
LONGEST_LOOK_SECONDS = 2.0
"""Most that one look counts. Looks are a second apart; after a longer pause it was the listener that was away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningClock:
    """Seconds that the control plane has listened since it started. Starts at 0, and so does every node's silence."""

    seconds: float = 0.0
    looked_at: float | None = None
    """Of the last look, on a clock that never jumps."""

    def look(self, monotonic: float) -> "ListeningClock":
        """Return the clock as of now. `monotonic` is in seconds; one that went back counts nothing."""
        if self.looked_at is None:
            return replace(self, looked_at=monotonic)
        passed = min(max(0.0, monotonic - self.looked_at), LONGEST_LOOK_SECONDS)
        return ListeningClock(seconds=self.seconds + passed, looked_at=monotonic)

    def silence(self, heard_at: float = 0.0) -> float:
        """Return how long a node has been silent that was last heard when `seconds` was `heard_at`."""
        return max(0.0, self.seconds - heard_at)


def liveness(silent_seconds_listened: float, heartbeat_seconds: float) -> NodeLiveness:
    """Return what to think of a node that sends a heartbeat every `heartbeat_seconds` and was silent for so long."""
    if silent_seconds_listened >= LOST_AFTER_HEARTBEATS * heartbeat_seconds:
        return NodeLiveness.LOST
    if silent_seconds_listened >= SUSPECT_AFTER_HEARTBEATS * heartbeat_seconds:
        return NodeLiveness.SUSPECT
    return NodeLiveness.READY


def answer_seconds(heartbeat_seconds: float) -> float:
    """Return how long a node waits for the answer to a report before it sends the next: about a heartbeat, as what is
    lost on the way is known to be lost only then; long enough for a control plane that has much to do."""
    return min(max(heartbeat_seconds, SHORTEST_ANSWER_SECONDS), LONGEST_ANSWER_SECONDS)
