"""What was found out about a GPU driver installation, gathered by the probes and judged by `driver_issues`."""

from dataclasses import dataclass, field

FABRIC_NOT_SUPPORTED, FABRIC_NOT_STARTED, FABRIC_IN_PROGRESS, FABRIC_COMPLETED = 0, 1, 2, 3
"""`nvmlGpuFabricState_t` of NVML."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What the host says about one kernel module."""

    kernel_release: str = ""
    module_loaded: bool = False
    module_built: bool = False
    """The module is in /lib/modules of the running kernel."""
    module_source_present: bool = False
    """Its DKMS source is in /usr/src, so it is built for each kernel on this machine."""
    headers_present: bool = False
    secure_boot: bool = False
    reboot_required: bool = False
    container_engines: tuple[str, ...] = ()
    """`docker`, `podman`: engines installed on this host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaFacts:
    host: HostFacts = field(default_factory=HostFacts)
    bus_drivers: tuple[str, ...] = ()
    """Kernel driver of each NVIDIA GPU on the PCI bus, empty text for none. Empty tuple: no GPU."""
    module_version: str | None = None
    library_version: str | None = None
    nvml_error: int | None = None
    """NVML's return code when the library is there and could not be started."""
    nvml_error_text: str = ""
    gpus_seen: int | None = None
    """GPUs that NVML enumerates; None when it does not run."""
    gpus_lost: tuple[str, ...] = ()
    """PCI addresses that NVML enumerates and cannot read."""
    xids: tuple[tuple[str, int], ...] = ()
    """(PCI address, code) of the kernel log since boot."""
    device_nodes_present: bool = True
    """/dev/nvidiactl and /dev/nvidia-uvm exist."""
    container_toolkit: bool = False
    persistence_mode: bool | None = None
    nvswitch_present: bool = False
    fabric_manager_running: bool = False
    fabric_states: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFileFacts:
    """How the daemon's user stands to the device files under /dev."""

    user: str = "root"
    render_nodes_present: bool = True
    accessible: bool = True
    missing_groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AmdFacts:
    host: HostFacts = field(default_factory=HostFacts)
    bus_drivers: tuple[str, ...] = ()
    kfd_present: bool = True
    """/dev/kfd exists: the compute interface that ROCm needs."""
    files: DeviceFileFacts = field(default_factory=DeviceFileFacts)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntelFacts:
    host: HostFacts = field(default_factory=HostFacts)
    bus_drivers: tuple[str, ...] = ()
    level_zero_present: bool = True
    """Level Zero's loader and Intel's GPU library are installed."""
    files: DeviceFileFacts = field(default_factory=DeviceFileFacts)
