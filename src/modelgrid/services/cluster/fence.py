"""Keeps when the control plane has last answered, over restarts of the daemon, for what may run only once."""

from modelgrid.decide.fence import Assurance
from modelgrid.ports.clock import Clock
from modelgrid.ports.store import Store

ANSWERED_AT = "control_plane_answered_at"
"""Setting: monotonic seconds at which the last answered report was sent."""


class Fence:
    """Call `load` once before anything else."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known = Assurance()
        self._stored: float | None = None

    async def load(self) -> None:
        stored = (await self._store.settings([ANSWERED_AT])).get(ANSWERED_AT)
        self._known = Assurance.remembered(float(stored) if stored else None, self._clock.monotonic())

    def answered(self, sent_at: float) -> None:
        self._known = self._known.answered(sent_at)

    def unanswered(self, sent_at: float, *, refused: bool) -> None:
        self._known = self._known.unanswered(sent_at, refused=refused)

    async def remember(self, heartbeat_seconds: float) -> None:
        """Store the last answer, for whoever starts after this process. Reports follow each other closely when much
        happens: one that is half a heartbeat old will do, as it only makes the next one stop sooner. Raises what the
        store raises."""
        since = self._known.since
        if since is None or (self._stored is not None and since - self._stored < heartbeat_seconds / 2):
            return
        await self._store.put_setting(ANSWERED_AT, repr(since))
        self._stored = since

    def must_stop(self, heartbeat_seconds: float) -> bool:
        return self._known.must_stop(self._clock.monotonic(), heartbeat_seconds)

    def may_start(self, heartbeat_seconds: float) -> bool:
        return self._known.may_start(self._clock.monotonic(), heartbeat_seconds)

    def stop_grace_seconds(self, heartbeat_seconds: float) -> float:
        return self._known.stop_grace_seconds(self._clock.monotonic(), heartbeat_seconds)
