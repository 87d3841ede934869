"""The AMD probe: sysfs for the readings, KFD for the gfx target and the processes, a vendor tool for the name."""

import re
from pathlib import Path

from modelgrid.adapters.gpu_amd.kfd import KfdNode, kfd_nodes, vram_by_process
from modelgrid.adapters.gpu_amd.smi import product_names
from modelgrid.adapters.pci import Identity, current_identity, gpu_devices, host_facts, pci_name, read_text
from modelgrid.adapters.pci.bus import INTEGRATED_AMD_BYTES
from modelgrid.adapters.pci.device_files import device_file_facts
from modelgrid.adapters.pci.host import process_name, read_int
from modelgrid.adapters.pci.hwmon import hwmon_folder, megahertz, micro, temperature
from modelgrid.decide.driver_facts import AmdFacts
from modelgrid.decide.driver_issues import amd_issues
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.gpu import DriverReport, Gpu, GpuProcess, GpuVendor
from modelgrid.domain.ids import GpuId

_UNCORRECTED = re.compile(r"^ue: (\d+)", re.MULTILINE)


class AmdProbe:
    """`GpuProbe` for AMD GPUs driven by amdgpu. Reads files; a vendor tool runs once, for names sysfs lacks.

    Not thread-safe. A GPU in a partitioned mode (CPX, DPX) is shown as its first partition.
    """

    vendor = GpuVendor.AMD

    def __init__(self, root: Path = Path("/"), identity: Identity | None = None) -> None:
        self._root = root
        self._identity = identity or current_identity()
        self._names: dict[str, str] = {}
        self._tool_asked = False

    def read(self) -> tuple[Gpu, ...]:
        """Return every GPU that amdgpu drives, in PCI order. Empty without an AMD GPU or without its driver.

        Raises `ModelGridError` when a device that amdgpu drives does not say how much memory it has.
        """
        nodes = kfd_nodes(self._root)
        found: list[Gpu] = []
        for card in self._cards():
            total = read_int(card / "mem_info_vram_total")
            used = read_int(card / "mem_info_vram_used")
            if total is None or used is None:
                raise ModelGridError(
                    f"The AMD driver does not say how much memory {self._address(card)} has.",
                    fix="`dmesg | grep amdgpu` names the cause; a GPU that was reset needs a reboot.",
                    vendor=str(self.vendor),
                )
            if total >= INTEGRATED_AMD_BYTES:
                found.append(self._reading(len(found), card, total, used, nodes))
        return tuple(found)

    def drivers(self) -> DriverReport:
        """Return what is installed and its known faults. Never raises for a missing driver."""
        root = self._root
        devices = gpu_devices(self.vendor, root)
        host = host_facts("amdgpu", "amdgpu-*", root)
        kfd = root / "dev/kfd"
        facts = AmdFacts(
            host=host,
            bus_drivers=tuple(device.driver for device in devices),
            kfd_present=kfd.exists(),
            files=device_file_facts([kfd, *(root / "dev/dri").glob("renderD*")], self._identity, root),
        )
        packaged = (read_text(root / "sys/module/amdgpu/version") or "").strip()
        rocm = (read_text(root / "opt/rocm/.info/version") or "").strip()
        return DriverReport(
            vendor=self.vendor,
            hardware_present=bool(devices),
            installed=host.module_loaded,
            # The kernel's own amdgpu has no version of its own.
            version=(packaged or f"kernel {host.kernel_release}") if host.module_loaded else None,
            toolkit_version=rocm or None,
            # Containers get /dev/kfd and /dev/dri; no toolkit is needed for that.
            container_toolkit=None,
            issues=amd_issues(facts),
        )

    def _cards(self) -> list[Path]:
        """Return the device folders of the AMD cards that have a DRM driver, in PCI order."""
        cards = [
            entry / "device"
            for entry in (self._root / "sys/class/drm").glob("card*")
            if re.fullmatch(r"card\d+", entry.name)
            and (read_text(entry / "device/vendor") or "").strip() == "0x1002"
            and (entry / "device/mem_info_vram_total").exists()
        ]
        return sorted(cards, key=self._address)

    def _address(self, card: Path) -> str:
        match = re.search(r"^PCI_SLOT_NAME=(\S+)", read_text(card / "uevent") or "", re.MULTILINE)
        return match[1].lower() if match else card.resolve().name

    def _reading(self, index: int, card: Path, total: int, used: int, nodes: tuple[KfdNode, ...]) -> Gpu:
        address = self._address(card)
        hwmon = hwmon_folder(card)
        minors = {int(entry.name.removeprefix("renderD")) for entry in (card / "drm").glob("renderD*")}
        node = next((node for node in nodes if node.render_minor in minors), None)
        errors = _UNCORRECTED.search(read_text(card / "ras/umc_err_count") or "")
        unique_id = (read_text(card / "unique_id") or "").strip()
        busy = read_int(card / "gpu_busy_percent")
        memory_busy = read_int(card / "mem_busy_percent")
        return Gpu(
            id=GpuId(f"amd-{index}"),
            vendor=self.vendor,
            index=index,
            # The form ROCm's own variables take (ROCR_VISIBLE_DEVICES).
            uuid=f"GPU-{unique_id}" if unique_id and int(unique_id, 16) else f"pci-{address}",
            name=self._name(card, address, node),
            vram_total_bytes=total,
            vram_used_bytes=used,
            vram_free_bytes=max(total - used, 0),
            pci_address=address,
            driver_version=(read_text(self._root / "sys/module/amdgpu/version") or "").strip() or None,
            utilization_percent=None if busy is None else float(busy),
            memory_utilization_percent=None if memory_busy is None else float(memory_busy),
            # MI300 has no edge sensor; its junction is what throttling goes by.
            temperature_celsius=temperature(hwmon, ("edge", "junction")),
            power_watts=micro(hwmon, "power1_average", "power1_input"),
            power_limit_watts=micro(hwmon, "power1_cap"),
            clock_core_mhz=megahertz(hwmon, "sclk"),
            clock_memory_mhz=megahertz(hwmon, "mclk"),
            compute_capability=None if node is None else node.gfx_target,
            ecc_enabled=True if errors else None,
            ecc_uncorrected_errors=int(errors[1]) if errors else None,
            processes=tuple(
                GpuProcess(pid=pid, name=process_name(pid, self._root), used_bytes=size)
                for pid, size in vram_by_process(node, self._root)
            ),
        )

    def _name(self, card: Path, address: str, node: KfdNode | None) -> str:
        """Return the product name: from the board's FRU, the vendor tool, pci.ids, or the chip's code name."""
        known = self._names.get(address)
        if known is not None:
            return known
        name = (read_text(card / "product_name") or "").strip()
        if not name and not self._tool_asked:
            self._tool_asked = True
            self._names.update(product_names(self._root))
            name = self._names.get(address, "")
        if not name:
            device_id = int((read_text(card / "device") or "0").strip(), 16)
            name = (
                pci_name(self.vendor, device_id, self._root)
                or (node.name if node else "")
                or f"AMD GPU {device_id:04x}"
            )
        self._names[address] = name
        return name
