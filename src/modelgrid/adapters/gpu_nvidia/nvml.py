"""NVML, one call at a time: what a device does not support is `None`, what is broken is an error.

The library is injected, so a recording of one can stand in for it. The real one is `pynvml` of nvidia-ml-py.
"""

from collections.abc import Callable
from ctypes import byref
from importlib import import_module
from typing import Any, TypeVar

NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_DRIVER_NOT_LOADED = 9
NVML_ERROR_LIBRARY_NOT_FOUND = 12
NVML_ERROR_GPU_IS_LOST = 15
NVML_ERROR_RESET_REQUIRED = 16
NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18
_TOLERATED = frozenset(
    {
        NVML_ERROR_NOT_SUPPORTED,
        4,  # NO_PERMISSION
        6,  # NOT_FOUND
        13,  # FUNCTION_NOT_FOUND: the library is older than the call
        21,  # NO_DATA
        25,  # ARGUMENT_VERSION_MISMATCH: the library knows another layout of the struct
        26,  # DEPRECATED
        27,  # NOT_READY
        999,  # UNKNOWN: drivers answer it for single readings that fail
    }
)
"""Return codes that mean "this reading is not to be had here". Everything else is a fault of the device or driver."""

_T = TypeVar("_T")


def load() -> Any:
    """Import nvidia-ml-py's module. Loads no driver library: `nvmlInit` does."""
    return import_module("pynvml")


def error_code(error: Exception) -> int:
    """Return the NVML return code an `NVMLError` carries."""
    return int(getattr(error, "value", 0))


class Nvml:
    """The readings of NVML that ModelGrid uses. Blocking; a wedged driver blocks it for good."""

    def __init__(self, module: Any) -> None:
        self._nvml = module
        self.error: type[Exception] = module.NVMLError

    def maybe(self, call: Callable[..., _T], *arguments: Any) -> _T | None:
        """Return `call(*arguments)`, or None when the device, driver or library does not give this reading."""
        try:
            return call(*arguments)
        except self.error as error:
            if error_code(error) in _TOLERATED:
                return None
            raise

    def start(self) -> None:
        self._nvml.nvmlInit()

    def stop(self) -> None:
        self.maybe(self._nvml.nvmlShutdown)

    def error_text(self, error: Exception) -> str:
        return str(error)

    def driver_version(self) -> str | None:
        return self.maybe(self._nvml.nvmlSystemGetDriverVersion)

    def cuda_version(self) -> str | None:
        """Newest CUDA version the driver supports, `13.0`."""
        number = self.maybe(self._nvml.nvmlSystemGetCudaDriverVersion_v2)
        return None if number is None else f"{number // 1000}.{number % 1000 // 10}"

    def handles(self) -> list[tuple[int, Any]]:
        """Return (index, handle) of each device. A device that is lost keeps its index and has the handle None."""
        found: list[tuple[int, Any]] = []
        for index in range(self._nvml.nvmlDeviceGetCount()):
            try:
                found.append((index, self._nvml.nvmlDeviceGetHandleByIndex(index)))
            except self.error as error:
                if error_code(error) not in {NVML_ERROR_GPU_IS_LOST, NVML_ERROR_RESET_REQUIRED}:
                    raise
                found.append((index, None))
        return found

    def name(self, handle: Any) -> str:
        return str(self._nvml.nvmlDeviceGetName(handle))

    def uuid(self, handle: Any) -> str:
        return str(self._nvml.nvmlDeviceGetUUID(handle))

    def pci_address(self, handle: Any) -> str | None:
        """`0000:01:00.0`: NVML's own text has an eight-digit domain, the kernel's a four-digit one."""
        info = self.maybe(self._nvml.nvmlDeviceGetPciInfo, handle)
        if info is None:
            return None
        domain, rest = str(info.busId).lower().split(":", 1)
        return f"{int(domain, 16):04x}:{rest}"

    def memory(self, handle: Any) -> tuple[int, int] | None:
        """Return (total, free) bytes. None on devices without memory of their own (Grace-Blackwell desktops).

        Version 2 of the call counts what the driver keeps for itself as reserved; version 1, of drivers before 510,
        counts it as used. Free is the same in both.
        """
        info = self.maybe(self._nvml.nvmlDeviceGetMemoryInfo, handle, getattr(self._nvml, "nvmlMemory_v2", None))
        if info is None:
            info = self.maybe(self._nvml.nvmlDeviceGetMemoryInfo, handle)
        return None if info is None else (int(info.total), int(info.free))

    def utilization(self, handle: Any) -> tuple[float, float] | tuple[None, None]:
        """Return the shares of time, in percent, in which a kernel ran and in which memory was read or written."""
        rates = self.maybe(self._nvml.nvmlDeviceGetUtilizationRates, handle)
        return (None, None) if rates is None else (float(rates.gpu), float(rates.memory))

    def temperature(self, handle: Any) -> float | None:
        for call in ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"):
            function = getattr(self._nvml, call, None)
            value = None if function is None else self.maybe(function, handle, self._nvml.NVML_TEMPERATURE_GPU)
            if value is not None:
                return float(value)
        return None

    def power_watts(self, handle: Any) -> float | None:
        return _thousandth(self.maybe(self._nvml.nvmlDeviceGetPowerUsage, handle))

    def power_limit_watts(self, handle: Any) -> float | None:
        return _thousandth(self.maybe(self._nvml.nvmlDeviceGetEnforcedPowerLimit, handle))

    def clock_mhz(self, handle: Any, *, memory: bool) -> int | None:
        kind = self._nvml.NVML_CLOCK_MEM if memory else self._nvml.NVML_CLOCK_SM
        return self.maybe(self._nvml.nvmlDeviceGetClockInfo, handle, kind)

    def compute_capability(self, handle: Any) -> str | None:
        pair = self.maybe(self._nvml.nvmlDeviceGetCudaComputeCapability, handle)
        return None if pair is None else f"{pair[0]}.{pair[1]}"

    def ecc_enabled(self, handle: Any) -> bool | None:
        modes = self.maybe(self._nvml.nvmlDeviceGetEccMode, handle)
        return None if modes is None else bool(modes[0])

    def ecc_uncorrected(self, handle: Any) -> int | None:
        """Uncorrected errors since the driver was loaded (NVML's volatile counter)."""
        return self.maybe(
            self._nvml.nvmlDeviceGetTotalEccErrors,
            handle,
            self._nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
            self._nvml.NVML_VOLATILE_ECC,
        )

    def throttle_mask(self, handle: Any) -> int:
        for call in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            function = getattr(self._nvml, call, None)
            value = None if function is None else self.maybe(function, handle)
            if value is not None:
                return int(value)
        return 0

    def mig_enabled(self, handle: Any) -> bool:
        modes = self.maybe(self._nvml.nvmlDeviceGetMigMode, handle)
        return modes is not None and bool(modes[0])

    def persistence_mode(self, handle: Any) -> bool | None:
        mode = self.maybe(self._nvml.nvmlDeviceGetPersistenceMode, handle)
        return None if mode is None else bool(mode)

    def fabric_state(self, handle: Any) -> int | None:
        """Return `nvmlGpuFabricState_t`, or None where the driver knows no fabric."""
        layout = getattr(self._nvml, "c_nvmlGpuFabricInfoV_t", None)
        if layout is None:
            return None
        info = layout()
        if self.maybe(self._nvml.nvmlDeviceGetGpuFabricInfoV, handle, byref(info)) is None:
            return None
        return int(info.state)

    def processes(self, handle: Any) -> dict[int, int | None]:
        """Return bytes per host pid over compute and graphics contexts; None where the driver does not say."""
        found: dict[int, int | None] = {}
        for call in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses"):
            for process in self.maybe(getattr(self._nvml, call), handle) or ():
                known = found.get(int(process.pid))
                used = process.usedGpuMemory
                # One process with both kinds of context is listed twice with the same total.
                found[int(process.pid)] = known if used is None else max(int(used), known or 0)
        return found

    def process_name(self, pid: int) -> str:
        return self.maybe(self._nvml.nvmlSystemGetProcessName, pid) or ""


def _thousandth(milli: int | None) -> float | None:
    return None if milli is None else milli / 1000
