"""Probes that cannot hang, read in the daemon itself: simulated GPUs, which are files."""

import asyncio

from modelgrid.domain.gpu import DriverReport, Gpu, GpuVendor
from modelgrid.ports.gpu_probe import GpuProbe


class InProcessReader:
    """A `GpuSource` around a probe that reads files only. Runs it in a thread, one call at a time."""

    def __init__(self, probe: GpuProbe) -> None:
        self.vendor: GpuVendor = probe.vendor
        self._probe = probe
        self._lock = asyncio.Lock()

    async def read(self) -> tuple[Gpu, ...]:
        """Return the probe's GPUs. Raises what the probe raises (`ModelGridError`)."""
        async with self._lock:
            return await asyncio.to_thread(self._probe.read)

    async def drivers(self) -> DriverReport:
        """Return the probe's report."""
        async with self._lock:
            return await asyncio.to_thread(self._probe.drivers)

    async def close(self) -> None:
        """Nothing to end."""
