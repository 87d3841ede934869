"""GPUs on the PCI bus, whether or not a driver sees them.

Tells "this machine has no GPU" from "its driver is broken". Reads `/sys/bus/pci/devices`, which the kernel fills
at boot; no driver is asked, so nothing here can hang on one.
"""

from dataclasses import dataclass
from pathlib import Path

from modelgrid.adapters.pci.host import read_int, read_text
from modelgrid.domain.gpu import GpuVendor
from modelgrid.domain.units import GIB

_VENDORS = {0x10DE: GpuVendor.NVIDIA, 0x1002: GpuVendor.AMD, 0x8086: GpuVendor.INTEL}
_VENDOR_IDS = {vendor: number for number, vendor in _VENDORS.items()}
# PCI class codes (upper 16 bits of `class`): VGA controller, 3D controller, other display controller,
# processing accelerator (AMD Instinct and some Intel parts without a display engine).
_GPU_CLASSES = frozenset({0x0300, 0x0302, 0x0380, 0x1200})
_BRIDGE_OTHER = 0x0680
"""Class of NVIDIA's NVSwitch devices."""
_INTEL_INTEGRATED_BUS = "00"
"""Intel's integrated graphics is a root-complex device (0000:00:02.0); cards sit behind a port on another bus."""
INTEGRATED_AMD_BYTES = 2 * GIB
"""Integrated Radeon graphics has a carve-out of the host's memory, 512 MiB by default: no place for a model."""
_PCI_IDS = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids", "usr/share/pci.ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class PciDevice:
    """One GPU-class device. `driver` is the bound kernel driver, empty when none is."""

    address: str
    """`0000:01:00.0`, lower case."""
    vendor: GpuVendor
    device_id: int
    class_code: int
    driver: str = ""


def gpu_devices(vendor: GpuVendor | None = None, root: Path = Path("/")) -> tuple[PciDevice, ...]:
    """Return the display, 3D and accelerator devices of the three GPU vendors, in bus order.

    Integrated graphics and management controllers' VGA (ASPEED, Matrox) are not compute GPUs and are left out;
    AMD's integrated graphics can only be told from a card by its memory, so only once amdgpu drives it.
    Empty where there is no PCI bus. Blocking, about a millisecond.
    """
    found: list[PciDevice] = []
    for entry in _entries(root):
        device = _read_device(entry)
        if device is not None and (vendor is None or device.vendor is vendor):
            found.append(device)
    return tuple(found)


def nvswitch_present(root: Path = Path("/")) -> bool:
    """Return whether an NVSwitch is on the bus: such systems need the fabric manager before CUDA works."""
    return any(
        _number(entry / "vendor") == _VENDOR_IDS[GpuVendor.NVIDIA]
        and (_number(entry / "class") or 0) >> 8 == _BRIDGE_OTHER
        for entry in _entries(root)
    )


def pci_name(vendor: GpuVendor, device_id: int, root: Path = Path("/")) -> str | None:
    """Return the product name from the system's `pci.ids` (packages pci.ids or hwdata), or None.

    Blocking; reads up to a megabyte, so callers keep the answer.
    """
    for place in _PCI_IDS:
        text = read_text(root / place)
        if text is None:
            continue
        inside = False
        for line in text.splitlines():
            if line.startswith("\t\t") or line.startswith("#") or not line:
                continue
            if not line.startswith("\t"):
                if inside:
                    break
                inside = line.startswith(f"{_VENDOR_IDS[vendor]:04x} ")
            elif inside and line.startswith(f"\t{device_id:04x} "):
                return line.strip().split(None, 1)[1].strip()
    return None


def _entries(root: Path) -> list[Path]:
    try:
        return sorted((root / "sys/bus/pci/devices").iterdir())
    except OSError:
        return []


def _read_device(entry: Path) -> PciDevice | None:
    vendor = _VENDORS.get(_number(entry / "vendor") or 0)
    class_code = (_number(entry / "class") or 0) >> 8
    device_id = _number(entry / "device")
    if vendor is None or class_code not in _GPU_CLASSES or device_id is None:
        return None
    address = entry.name.lower()
    if vendor is GpuVendor.INTEL and address.split(":")[1] == _INTEL_INTEGRATED_BUS:
        return None
    if (
        vendor is GpuVendor.AMD
        and (read_int(entry / "mem_info_vram_total") or INTEGRATED_AMD_BYTES) < INTEGRATED_AMD_BYTES
    ):
        return None
    driver = entry / "driver"
    return PciDevice(
        address=address,
        vendor=vendor,
        device_id=device_id,
        class_code=class_code,
        driver=driver.readlink().name if driver.is_symlink() else "",
    )


def _number(path: Path) -> int | None:
    text = read_text(path)
    try:
        return None if text is None else int(text.strip(), 16)
    except ValueError:
        return None
