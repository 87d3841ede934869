"""The facts that the installation walk-through starts from, gathered from this machine."""

import platform
from pathlib import Path

from modelgrid.adapters.pci import Identity, current_identity, gpu_devices, host_facts, nvswitch_present, read_text
from modelgrid.decide.driver_steps import InstallFacts, parse_os_release
from modelgrid.domain.gpu import DriverReport, GpuVendor

_FIRST_TURING = 0x1E00
"""NVIDIA numbers its devices in the order of the generations; TU102 is the first of Turing (pci.ids)."""
_BESIDE_THE_DRIVER = frozenset(
    {"container_toolkit_missing", "persistence_mode_off", "xid_errors", "gpu_lost", "no_device_access", "bound_to_vfio"}
)
"""Issues that installing the driver once more does not mend."""
_MODULES = {
    GpuVendor.NVIDIA: ("nvidia", "nvidia-*"),
    GpuVendor.AMD: ("amdgpu", "amdgpu-*"),
    GpuVendor.INTEL: ("xe", "xe-*"),
}


def gather_install_facts(
    report: DriverReport, root: Path = Path("/"), identity: Identity | None = None, machine: str | None = None
) -> InstallFacts:
    """Return the facts for `decide.driver_steps.install_steps`. Blocking: a few file reads, no driver is asked.

    `report` is the vendor's driver report; `identity` the user the daemon runs as (default: this process's).
    """
    who = identity or current_identity()
    host = host_facts(*_MODULES[report.vendor], root)
    legacy = report.vendor is GpuVendor.NVIDIA and any(
        device.device_id < _FIRST_TURING for device in gpu_devices(GpuVendor.NVIDIA, root)
    )
    return InstallFacts(
        distribution=parse_os_release(
            read_text(root / "etc/os-release") or read_text(root / "usr/lib/os-release") or ""
        ),
        machine=machine or platform.machine(),
        kernel_release=host.kernel_release,
        user=who.user,
        user_groups=who.groups,
        driver_working=report.installed and all(issue.code in _BESIDE_THE_DRIVER for issue in report.issues),
        container_engines=host.container_engines,
        container_toolkit=bool(report.container_toolkit),
        secure_boot=host.secure_boot,
        deb822_sources=(root / "etc/apt/sources.list.d/debian.sources").exists(),
        legacy_gpu=legacy,
        nvswitch=nvswitch_present(root),
    )
