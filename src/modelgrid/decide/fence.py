"""When a node that cannot reach its control plane ends the engines that may run only once. Pure.

The control plane gives such an engine to another node when this one is lost, eight heartbeats after it last heard of
it. Whatever it heard was sent earlier, so a node that counts from the *sending* of its last answered heartbeat counts
longer than the control plane does. It begins to stop after five; what stopping takes has to fit into the rest.
"""

from dataclasses import dataclass, replace
from typing import Self

from modelgrid.decide.liveness import LOST_AFTER_HEARTBEATS

FENCE_AFTER_HEARTBEATS = 5
NOTICE_HEARTBEATS = 1
"""Of the time until the node is lost, what is left for noticing and for removing an engine that was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assurance:
    """Until when a node knows that nothing of it was given to another. Times are of a clock that never jumps."""

    since: float | None = None
    """When the last heartbeat was sent after which that was so. It outlives the daemon; `None` where none is known."""
    heard: bool = False
    """The control plane has answered since the daemon started."""
    failed: bool = False
    """A heartbeat was not answered since the daemon started."""

    @classmethod
    def remembered(cls, since: float | None, now: float) -> Self:
        """Return what is known when the daemon starts. A time that is still to come is of before the machine was
        started, when there were other engines."""
        return cls(since=since if since is not None and since <= now else None)

    def answered(self, sent_at: float) -> "Assurance":
        return replace(self, since=sent_at, heard=True)

    def unanswered(self, sent_at: float, *, refused: bool) -> "Assurance":
        """`refused`: the control plane's host is there, and nobody listens. Whoever listens there later counts this
        node's silence from 0. Before the first answer that says nothing: it may have given things away by then."""
        return replace(self, since=sent_at if refused and self.heard else self.since, failed=True)

    def must_stop(self, now: float, heartbeat_seconds: float) -> bool:
        """Return whether the node's exclusive deployments have to end now, without draining. Where no time is known,
        the first heartbeat that is not answered decides."""
        if self.since is None:
            return self.failed
        return now - self.since >= FENCE_AFTER_HEARTBEATS * heartbeat_seconds

    def may_start(self, now: float, heartbeat_seconds: float) -> bool:
        """Return whether an exclusive deployment may be started: never before the control plane has answered once."""
        return self.heard and not self.must_stop(now, heartbeat_seconds)

    def stop_grace_seconds(self, now: float, heartbeat_seconds: float) -> float:
        """Return how long an exclusive engine that has to end may take before it is killed: what is left until the node
        is lost, which is nothing where that is not known."""
        most = (LOST_AFTER_HEARTBEATS - FENCE_AFTER_HEARTBEATS - NOTICE_HEARTBEATS) * heartbeat_seconds
        if not self.must_stop(now, heartbeat_seconds):
            return most
        lost_at = self.since + LOST_AFTER_HEARTBEATS * heartbeat_seconds if self.since is not None else now
        return min(most, max(0.0, lost_at - NOTICE_HEARTBEATS * heartbeat_seconds - now))
