"""GPUs as the node measured them."""

from dataclasses import dataclass
from enum import StrEnum

from modelgrid.domain.ids import GpuId


class GpuVendor(StrEnum):
    NVIDIA = "nvidia"
    AMD = "amd"
    INTEL = "intel"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that holds memory on a GPU. `pid` is in the host's pid namespace."""

    pid: int
    name: str
    used_bytes: int | None = None
    deployment: str | None = None
    """Whose engine it is part of; `None`: of no deployment of this machine, as far as can be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One device and its latest reading. Readings the vendor does not give are `None`."""

    id: GpuId
    vendor: GpuVendor
    index: int
    uuid: str
    name: str
    vram_total_bytes: int
    vram_used_bytes: int
    vram_free_bytes: int
    pci_address: str | None = None
    driver_version: str | None = None
    """`None` also where the driver is a part of the kernel and has no version of its own."""
    utilization_percent: float | None = None
    memory_utilization_percent: float | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    clock_core_mhz: int | None = None
    clock_memory_mhz: int | None = None
    compute_capability: str | None = None
    """NVIDIA: `9.0`; AMD: the gfx target, for example `gfx942`."""
    ecc_enabled: bool | None = None
    ecc_uncorrected_errors: int | None = None
    xid_errors: tuple[int, ...] = ()
    """XID codes of the kernel log since boot, oldest first, without repeats."""
    throttle_reasons: tuple[str, ...] = ()
    mig_enabled: bool = False
    processes: tuple[GpuProcess, ...] = ()
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverIssue:
    """A known fault of a driver installation. `fix` is a command or a sentence that mends it."""

    code: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverReport:
    """What is installed for one vendor on this node."""

    vendor: GpuVendor
    hardware_present: bool
    """A device of this vendor is on the PCI bus, whether or not a driver sees it."""
    installed: bool
    version: str | None = None
    toolkit_version: str | None = None
    """CUDA version the driver supports, ROCm version, or Level Zero version."""
    container_toolkit: bool | None = None
    issues: tuple[DriverIssue, ...] = ()
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuInventory:
    """All GPUs of a node at `taken_at`. `stale` when the last probe failed or hung: the readings are old."""

    taken_at: float
    gpus: tuple[Gpu, ...] = ()
    stale: bool = False
    problem: str = ""
    """Why it is stale or incomplete, in one sentence; empty when all is well."""
