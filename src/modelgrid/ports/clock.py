from typing import Protocol


class Clock(Protocol):
    """Time, so that decisions and tests can do without a real one."""

    def now(self) -> float:
        """Seconds since the Unix epoch, UTC. May jump when the clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start. Never jumps; for durations and liveness."""
        ...

    async def sleep(self, seconds: float) -> None: ...
