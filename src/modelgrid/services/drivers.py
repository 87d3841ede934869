"""Driver reports, read at most every few seconds: each costs subprocesses and module look-ups."""

import asyncio
from typing import Protocol

from modelgrid.domain.gpu import DriverReport
from modelgrid.ports.clock import Clock

KEPT_SECONDS = 10.0


class DriverReader(Protocol):
    async def drivers(self) -> tuple[DriverReport, ...]: ...


class DriverService:
    def __init__(self, reader: DriverReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._lock = asyncio.Lock()
        self._read_at: float | None = None
        self._reports: tuple[DriverReport, ...] = ()

    async def reports(self) -> tuple[DriverReport, ...]:
        """Return one report per vendor. Raises `ModelGridError` when the probe hangs or fails."""
        async with self._lock:
            now = self._clock.monotonic()
            if self._read_at is None or now - self._read_at > KEPT_SECONDS:
                self._reports = await self._reader.drivers()
                self._read_at = self._clock.monotonic()
        return self._reports
