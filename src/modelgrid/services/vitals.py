"""How the control process itself is: its memory, its share of a core, and how late its event loop is."""

import os
import time
from pathlib import Path

from modelgrid.ports.clock import Clock

LOOK_SECONDS = 1.0
LAG_SECONDS = 60
"""The worst delay of so many seconds is shown."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class DaemonVitals:
    """`run` looks once a second; the rest reads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lags: list[float] = []
        self.cpu_percent = 0.0
        """Of one core, in the last second."""

    @property
    def memory_bytes(self) -> int:
        """Resident memory. Blocks for one read of /proc."""
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES

    @property
    def loop_lag_seconds(self) -> float:
        """The longest that anything had to wait for the event loop in the last minute."""
        return max(self._lags, default=0.0)

    async def run(self) -> None:
        """Look until cancelled."""
        used, at = time.process_time(), self._clock.monotonic()
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            now_used, now = time.process_time(), self._clock.monotonic()
            self._lags = [*self._lags[1 - LAG_SECONDS :], max(0.0, now - at - LOOK_SECONDS)]
            if now > at:
                self.cpu_percent = round(100.0 * (now_used - used) / (now - at), 1)
            used, at = now_used, now
