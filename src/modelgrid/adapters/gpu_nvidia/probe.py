"""The NVIDIA probe: NVML for the readings, the kernel log for XID errors, files for the state of the installation."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelgrid.adapters.gpu_nvidia import nvml as nvml_module
from modelgrid.adapters.gpu_nvidia.nvml import Nvml, error_code
from modelgrid.adapters.pci import KernelLog, gpu_devices, host_facts, library_versions, nvswitch_present, read_text
from modelgrid.adapters.pci.host import find_binary, process_name, process_running
from modelgrid.decide.driver_facts import NvidiaFacts
from modelgrid.decide.driver_issues import nvidia_issues
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.gpu import DriverReport, Gpu, GpuProcess, GpuVendor
from modelgrid.domain.ids import GpuId

THROTTLE_REASONS = (
    (0x002, "application_clocks_setting"),
    (0x004, "software_power_cap"),
    (0x008, "hardware_slowdown"),
    (0x010, "sync_boost"),
    (0x020, "software_thermal_slowdown"),
    (0x040, "hardware_thermal_slowdown"),
    (0x080, "hardware_power_brake"),
    (0x100, "display_clock_setting"),
    (0x200, "board_limit"),
    (0x400, "reliability_voltage"),
)
"""Bits of `nvmlClocksEventReasons`, without idle (0x1), which is no throttling."""
_TOOLKIT_BINARIES = ("nvidia-ctk", "nvidia-container-runtime", "nvidia-container-runtime-hook")
_LOST = frozenset({nvml_module.NVML_ERROR_GPU_IS_LOST, nvml_module.NVML_ERROR_RESET_REQUIRED})


class NvidiaProbe:
    """`GpuProbe` for NVIDIA GPUs.

    NVML is started at the first call and kept: starting it costs hundreds of milliseconds without persistence mode.
    Any fault stops it again, so that the next call meets a driver that was repaired or upgraded in between.
    Not thread-safe; every call may block for good in a wedged driver.
    """

    vendor = GpuVendor.NVIDIA

    def __init__(self, root: Path = Path("/"), nvml: Any = None, kernel_log: KernelLog | None = None) -> None:
        self._root = root
        self._module = nvml
        self._nvml: Nvml | None = None
        self._log = kernel_log or KernelLog(root)

    def read(self) -> tuple[Gpu, ...]:
        """Return every GPU that answers, in NVML's order (PCI bus order).

        Empty without an NVIDIA GPU and without a driver. A single lost GPU is left out and reported by `drivers`.
        Raises `ModelGridError` when a driver is installed and NVML does not work.
        """
        if not self._hardware_present():
            return ()
        try:
            nvml = self._start()
        except _NvmlDown as down:
            if down.code == nvml_module.NVML_ERROR_LIBRARY_NOT_FOUND and not self._module_version():
                return ()
            raise self._unreadable(down.text) from down
        self._log.poll()
        try:
            return tuple(
                gpu for index, handle in nvml.handles() if (gpu := self._read_one(nvml, index, handle)) is not None
            )
        except nvml.error as error:
            self._stop()
            raise self._unreadable(str(error)) from error

    def drivers(self) -> DriverReport:
        """Return what is installed and its known faults. Never raises for a missing or broken driver."""
        facts, version, cuda = self._facts()
        return DriverReport(
            vendor=self.vendor,
            hardware_present=self._hardware_present(),
            installed=facts.library_version is not None or facts.host.module_loaded or version is not None,
            version=version or facts.module_version or facts.library_version,
            toolkit_version=cuda,
            container_toolkit=facts.container_toolkit,
            issues=nvidia_issues(facts),
        )

    def _hardware_present(self) -> bool:
        # /dev/dxg: under WSL 2 the GPU is not on the PCI bus. /dev/nvidiactl: nor on an integrated (Tegra) GPU.
        nodes = ("dev/nvidiactl", "dev/dxg")
        return bool(gpu_devices(self.vendor, self._root)) or any((self._root / node).exists() for node in nodes)

    def _start(self) -> Nvml:
        if self._nvml is None:
            nvml = Nvml(self._module or nvml_module.load())
            try:
                nvml.start()
            except nvml.error as error:
                raise _NvmlDown(error_code(error), str(error)) from error
            self._nvml = nvml
        return self._nvml

    def _stop(self) -> None:
        nvml, self._nvml = self._nvml, None
        if nvml is None:
            return
        try:
            nvml.stop()
        except nvml.error:
            return  # already gone with the driver; the next start makes a new connection

    def _read_one(self, nvml: Nvml, index: int, handle: Any) -> Gpu | None:
        if handle is None:
            return None
        try:
            return self._reading(nvml, index, handle)
        except nvml.error as error:
            if error_code(error) in _LOST:
                return None
            raise

    def _reading(self, nvml: Nvml, index: int, handle: Any) -> Gpu:
        total, free = nvml.memory(handle) or self._system_memory()
        busy, memory_busy = nvml.utilization(handle)
        address = nvml.pci_address(handle)
        mask = nvml.throttle_mask(handle)
        return Gpu(
            id=GpuId(f"nvidia-{index}"),
            vendor=self.vendor,
            index=index,
            uuid=nvml.uuid(handle),
            name=nvml.name(handle),
            vram_total_bytes=total,
            # Used is all that is not free, the driver's reserve included: used + free = total holds everywhere.
            vram_used_bytes=total - free,
            vram_free_bytes=free,
            pci_address=address,
            driver_version=nvml.driver_version(),
            utilization_percent=busy,
            memory_utilization_percent=memory_busy,
            temperature_celsius=nvml.temperature(handle),
            power_watts=nvml.power_watts(handle),
            power_limit_watts=nvml.power_limit_watts(handle),
            clock_core_mhz=nvml.clock_mhz(handle, memory=False),
            clock_memory_mhz=nvml.clock_mhz(handle, memory=True),
            compute_capability=nvml.compute_capability(handle),
            ecc_enabled=nvml.ecc_enabled(handle),
            ecc_uncorrected_errors=nvml.ecc_uncorrected(handle),
            xid_errors=() if address is None else self._log.xids(address),
            throttle_reasons=tuple(name for bit, name in THROTTLE_REASONS if mask & bit),
            mig_enabled=nvml.mig_enabled(handle),
            processes=tuple(
                GpuProcess(pid=pid, name=process_name(pid, self._root) or nvml.process_name(pid), used_bytes=used)
                for pid, used in sorted(nvml.processes(handle).items())
            ),
        )

    def _system_memory(self) -> tuple[int, int]:
        """Return (total, free) of the host: a GPU without memory of its own allocates from it."""
        sizes: dict[str, int] = {}
        for line in (read_text(self._root / "proc/meminfo") or "").splitlines():
            key, _, value = line.partition(":")
            if value.strip().endswith("kB"):
                sizes[key] = int(value.split()[0]) * 1024
        return sizes.get("MemTotal", 0), sizes.get("MemAvailable", 0)

    def _module_version(self) -> str | None:
        return (read_text(self._root / "sys/module/nvidia/version") or "").strip() or None

    def _facts(self) -> tuple[NvidiaFacts, str | None, str | None]:
        root = self._root
        devices = gpu_devices(self.vendor, root)
        answer = _Answer()
        if self._hardware_present():
            self._log.poll()
            answer = self._ask()
        libraries = [item for item in library_versions("libnvidia-ml.so", root) if "." in item]
        facts = NvidiaFacts(
            host=host_facts("nvidia", "nvidia-*", root),
            bus_drivers=tuple(device.driver for device in devices),
            module_version=self._module_version(),
            library_version=libraries[0] if libraries else None,
            nvml_error=answer.error,
            nvml_error_text=answer.error_text,
            gpus_seen=answer.seen,
            gpus_lost=tuple(
                devices[index].address if index < len(devices) else f"nvidia-{index}" for index in answer.lost
            ),
            xids=tuple((device.address, xid) for device in devices for xid in self._log.xids(device.address)),
            device_nodes_present=all((root / node).exists() for node in ("dev/nvidiactl", "dev/nvidia-uvm")),
            container_toolkit=any(find_binary(name, root) for name in _TOOLKIT_BINARIES),
            persistence_mode=answer.persistence,
            nvswitch_present=nvswitch_present(root),
            fabric_manager_running=process_running("nv-fabricmanager", root),
            fabric_states=tuple(answer.fabric),
        )
        return facts, answer.version, answer.cuda

    def _ask(self) -> "_Answer":
        try:
            nvml = self._start()
        except _NvmlDown as down:
            if down.code == nvml_module.NVML_ERROR_LIBRARY_NOT_FOUND:
                return _Answer()
            return _Answer(error=down.code, error_text=down.text)
        answer = _Answer()
        try:
            answer.version, answer.cuda = nvml.driver_version(), nvml.cuda_version()
            handles = nvml.handles()
            for index, handle in handles:
                if handle is None:
                    answer.lost.append(index)
                    continue
                state = nvml.fabric_state(handle)
                answer.fabric += [] if state is None else [state]
                mode = nvml.persistence_mode(handle)
                answer.persistence = mode if answer.persistence is not False else False
            answer.seen = len(handles)
        except nvml.error as error:
            self._stop()
            answer.error, answer.error_text = error_code(error), str(error)
        return answer

    def _unreadable(self, reason: str) -> ModelGridError:
        return ModelGridError(
            f"The NVIDIA driver does not answer: {reason}.",
            fix="`modelgrid gpu drivers` names the fault and the command that mends it.",
            vendor=str(self.vendor),
        )


@dataclass(slots=True)
class _Answer:
    """What NVML said of the installation."""

    version: str | None = None
    cuda: str | None = None
    seen: int | None = None
    lost: list[int] = field(default_factory=list)
    persistence: bool | None = None
    fabric: list[int] = field(default_factory=list)
    error: int | None = None
    error_text: str = ""


class _NvmlDown(Exception):
    """NVML could not be started."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
