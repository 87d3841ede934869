"""A clock that stands still until the test sets it."""

from modelgrid.ports.clock import Clock


class SetClock(Clock):
    def __init__(self, at: float = 1_760_000_000.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds
