"""The Intel probe: sysfs of i915 and xe, fdinfo for memory per process, xpu-smi for what neither driver says."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from modelgrid.adapters.gpu_intel.fdinfo import vram_by_process
from modelgrid.adapters.gpu_intel.xpu_smi import XpuDevice, XpuSmi
from modelgrid.adapters.pci import (
    Identity,
    PciDevice,
    current_identity,
    gpu_devices,
    host_facts,
    library_versions,
    pci_name,
    read_text,
)
from modelgrid.adapters.pci.device_files import device_file_facts
from modelgrid.adapters.pci.host import process_name, read_int
from modelgrid.adapters.pci.hwmon import hwmon_folder, micro, temperature
from modelgrid.decide.driver_facts import IntelFacts
from modelgrid.decide.driver_issues import intel_issues
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.gpu import DriverReport, Gpu, GpuProcess, GpuVendor
from modelgrid.domain.ids import GpuId

_DRIVERS = frozenset({"xe", "i915"})
_LOCAL_MEMORY_BAR = 2
"""PCI BAR of the card's memory (GEN12_LMEM_BAR in i915 and xe); with Resizable BAR it spans all of it."""


class IntelProbe:
    """`GpuProbe` for Intel cards (Arc, Flex, Max) under xe or i915. Integrated graphics is no compute GPU here.

    Power is the difference of two energy readings, so the first call gives none. Not thread-safe.
    """

    vendor = GpuVendor.INTEL

    def __init__(
        self,
        root: Path = Path("/"),
        identity: Identity | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._identity = identity or current_identity()
        self._monotonic = monotonic
        self._tool = XpuSmi(root, monotonic)
        self._energy: dict[str, tuple[float, float]] = {}
        self._names: dict[int, str] = {}

    def read(self) -> tuple[Gpu, ...]:
        """Return every card that xe or i915 drives, in PCI order. Empty without a card or without a driver.

        Raises `ModelGridError` when neither the kernel nor xpu-smi says how much memory a card has.
        """
        devices = [device for device in gpu_devices(self.vendor, self._root) if device.driver in _DRIVERS]
        if not devices:
            return ()
        held = vram_by_process(self._root)
        return tuple(self._reading(index, device, held) for index, device in enumerate(devices))

    def drivers(self) -> DriverReport:
        """Return what is installed and its known faults. Never raises for a missing driver."""
        root = self._root
        devices = gpu_devices(self.vendor, root)
        bound = next((device.driver for device in devices if device.driver in _DRIVERS), "")
        host = host_facts(bound or "xe", "xe-*", root)
        loader = library_versions("libze_loader.so", root)
        driver = library_versions("libze_intel_gpu.so", root)
        facts = IntelFacts(
            host=host,
            bus_drivers=tuple(device.driver for device in devices),
            level_zero_present=bool(loader) and bool(driver),
            files=device_file_facts(list((root / "dev/dri").glob("renderD*")), self._identity, root),
        )
        return DriverReport(
            vendor=self.vendor,
            hardware_present=bool(devices),
            installed=bool(bound),
            # Both drivers come with the kernel and have its version.
            version=f"{bound}, kernel {host.kernel_release}" if bound else None,
            toolkit_version=loader[0] if loader else None,
            # Containers get /dev/dri; no toolkit is needed for that.
            container_toolkit=None,
            issues=intel_issues(facts),
        )

    def _reading(self, index: int, device: PciDevice, held: dict[str, dict[int, int]] | None) -> Gpu:
        folder = self._root / "sys/bus/pci/devices" / device.address
        tool = self._tool.device(device.address)
        total = self._total(folder, tool)
        if total is None:
            raise ModelGridError(
                f"The Intel driver does not say how much memory {device.address} has.",
                fix="Install xpu-smi, or turn on Resizable BAR in the firmware.",
                vendor=str(self.vendor),
            )
        processes = (held or {}).get(device.address, {})
        used = self._tool.used_bytes(tool) if tool is not None else None
        if used is None:
            used = sum(processes.values())
        used = min(used, total)
        hwmon = hwmon_folder(folder)
        return Gpu(
            id=GpuId(f"intel-{index}"),
            vendor=self.vendor,
            index=index,
            uuid=tool.uuid if tool is not None and tool.uuid else f"pci-{device.address}",
            name=self._name(device, tool),
            vram_total_bytes=total,
            vram_used_bytes=used,
            vram_free_bytes=total - used,
            pci_address=device.address,
            utilization_percent=None if tool is None else self._tool.utilization_percent(tool),
            temperature_celsius=temperature(hwmon, ("pkg",)),
            power_watts=self._power(device.address, hwmon),
            # A limit of 0 means that it is switched off (sysfs-driver-intel-xe-hwmon).
            power_limit_watts=micro(hwmon, "power1_max", "power1_rated_max") or None,
            clock_core_mhz=self._clock(folder),
            processes=tuple(
                GpuProcess(pid=pid, name=process_name(pid, self._root), used_bytes=size)
                for pid, size in sorted(processes.items())
                if size
            ),
        )

    def _total(self, folder: Path, tool: XpuDevice | None) -> int | None:
        for pattern in ("drm/card*/lmem_total_bytes", "tile0/physical_vram_size_bytes"):
            for path in folder.glob(pattern):
                size = read_int(path)
                if size:
                    return size
        if tool is not None and tool.total_bytes:
            return tool.total_bytes
        # Upstream xe has no file for it; the memory BAR is the next best source.
        lines = (read_text(folder / "resource") or "").splitlines()
        if len(lines) > _LOCAL_MEMORY_BAR:
            bounds = [int(part, 16) for part in lines[_LOCAL_MEMORY_BAR].split()[:2]]
            size = bounds[1] - bounds[0] + 1 if len(bounds) == 2 and bounds[1] > bounds[0] else 0
            # Without Resizable BAR the window is 256 MiB whatever the card has: no measure of it.
            return size if size > 256 * 1024**2 else None
        return None

    def _power(self, address: str, hwmon: Path | None) -> float | None:
        # The card's own power where the kernel gives it; else energy1 is the card's and energy2 the package's.
        direct = micro(hwmon, "power1_input", "power1_average")
        joules = micro(hwmon, "energy1_input", "energy2_input")
        if direct is not None or joules is None:
            return direct
        now = self._monotonic()
        before = self._energy.get(address)
        self._energy[address] = (now, joules)
        if before is None or now <= before[0] or joules < before[1]:
            return None
        return round((joules - before[1]) / (now - before[0]), 1)

    def _clock(self, folder: Path) -> int | None:
        for pattern in ("tile0/gt0/freq0/act_freq", "drm/card*/gt/gt0/rps_act_freq_mhz", "drm/card*/gt_act_freq_mhz"):
            for path in folder.glob(pattern):
                value = read_int(path)
                if value is not None:
                    return value
        return None

    def _name(self, device: PciDevice, tool: XpuDevice | None) -> str:
        if tool is not None and tool.name:
            return tool.name
        if device.device_id not in self._names:
            name = pci_name(self.vendor, device.device_id, self._root) or f"Intel GPU {device.device_id:04x}"
            # pci.ids has the chip first and the product in brackets: "DG2 [Arc A770]".
            product = re.search(r"\[(.+)\]", name)
            self._names[device.device_id] = f"Intel {product[1]}" if product else name
        return self._names[device.device_id]
