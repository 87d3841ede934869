"""The machine's own clock."""

import asyncio
import time

from modelgrid.ports.clock import Clock


class SystemClock(Clock):
    """`ports.Clock` on the wall clock and CLOCK_MONOTONIC of this machine."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
