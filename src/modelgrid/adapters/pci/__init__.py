"""What the PCI bus, the kernel and the filesystem say about GPUs, read without any vendor library."""

from modelgrid.adapters.pci.bus import PciDevice, gpu_devices, nvswitch_present, pci_name
from modelgrid.adapters.pci.host import Identity, current_identity, host_facts, library_versions, read_text
from modelgrid.adapters.pci.kernel_log import KernelLog

__all__ = [
    "Identity",
    "KernelLog",
    "PciDevice",
    "current_identity",
    "gpu_devices",
    "host_facts",
    "library_versions",
    "nvswitch_present",
    "pci_name",
    "read_text",
]
