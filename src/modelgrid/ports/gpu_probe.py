from typing import Protocol

from modelgrid.domain.gpu import DriverReport, Gpu, GpuVendor


class GpuProbe(Protocol):
    """Reads the GPUs of one vendor.

    Both calls are plain blocking functions: they run in a child process that is killed when it hangs
    (`services.gpu_inventory`), because a wedged driver blocks in the kernel and no thread can be cancelled.
    """

    vendor: GpuVendor

    def read(self) -> tuple[Gpu, ...]:
        """Return every device with its present readings. Empty when there is none.

        Raises `ModelGridError` when the driver is there and cannot be read."""
        ...

    def drivers(self) -> DriverReport:
        """Return what is installed and its known faults. Never raises for a missing driver."""
        ...
