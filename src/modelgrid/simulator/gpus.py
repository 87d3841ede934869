"""Simulated GPUs: devices that do not exist, filled by the simulated engines that claim memory on them."""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.gpu import DriverReport, Gpu, GpuProcess, GpuVendor
from modelgrid.domain.ids import GpuId
from modelgrid.domain.units import GIB, MIB
from modelgrid.simulator.gpu_state import Claim, read_claims

DEFAULT_COUNT = 2
_MARK = " (simulated)"
_IDLE_BYTES = 512 * MIB
"""What the driver keeps for itself on an idle device."""
_IDLE_CLOCK_MHZ = 345
_IDLE_POWER_SHARE = 0.1
_IDLE_CELSIUS = 31.0
_FULL_CELSIUS = 72.0
_WOBBLE_SECONDS = 37.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedGpu:
    """A device to pretend to have."""

    name: str
    vram_bytes: int
    vendor: GpuVendor = GpuVendor.NVIDIA
    compute_capability: str = "9.0"
    power_limit_watts: float = 700.0
    clock_core_mhz: int = 1980
    clock_memory_mhz: int = 2619


_KINDS = {
    "T4": SimulatedGpu(name="Tesla T4", vram_bytes=15_360 * MIB, compute_capability="7.5", power_limit_watts=70,
                       clock_core_mhz=1590, clock_memory_mhz=5001),
    "L4": SimulatedGpu(name="NVIDIA L4", vram_bytes=23_034 * MIB, compute_capability="8.9", power_limit_watts=72,
                       clock_core_mhz=2040, clock_memory_mhz=6251),
    "RTX 4090": SimulatedGpu(name="NVIDIA GeForce RTX 4090", vram_bytes=24_564 * MIB, compute_capability="8.9",
                             power_limit_watts=450, clock_core_mhz=2520, clock_memory_mhz=10501),
    "L40S": SimulatedGpu(name="NVIDIA L40S", vram_bytes=46_068 * MIB, compute_capability="8.9",
                         power_limit_watts=350, clock_core_mhz=2520, clock_memory_mhz=9001),
    "A100": SimulatedGpu(name="NVIDIA A100-SXM4-80GB", vram_bytes=81_920 * MIB, compute_capability="8.0",
                         power_limit_watts=400, clock_core_mhz=1410, clock_memory_mhz=1593),
    "H100": SimulatedGpu(name="NVIDIA H100 80GB HBM3", vram_bytes=81_559 * MIB),
    "H200": SimulatedGpu(name="NVIDIA H200", vram_bytes=143_771 * MIB, clock_memory_mhz=3201),
    "B200": SimulatedGpu(name="NVIDIA B200", vram_bytes=183_359 * MIB, compute_capability="10.0",
                         power_limit_watts=1000, clock_core_mhz=1965, clock_memory_mhz=3996),
    "MI210": SimulatedGpu(name="AMD Instinct MI210", vram_bytes=65_520 * MIB, vendor=GpuVendor.AMD,
                          compute_capability="gfx90a", power_limit_watts=300, clock_core_mhz=1700,
                          clock_memory_mhz=1600),
    "MI300X": SimulatedGpu(name="AMD Instinct MI300X", vram_bytes=196_592 * MIB, vendor=GpuVendor.AMD,
                           compute_capability="gfx942", power_limit_watts=750, clock_core_mhz=2100,
                           clock_memory_mhz=1300),
}  # fmt: skip
"""Name, memory, power limit and highest clocks as `nvidia-smi -q` and `amd-smi static` report them."""

_DRIVERS = {
    GpuVendor.NVIDIA: ("580.00 (simulated)", "13.0 (simulated)"),
    GpuVendor.AMD: ("6.16.6 (simulated)", "7.0 (simulated)"),
    GpuVendor.INTEL: ("1.6.0 (simulated)", "25.2 (simulated)"),
}
"""Of the driver and of CUDA, ROCm or oneAPI."""


def simulated_gpus(wanted: bool | int | Sequence[str | tuple[str, float]] | None = None) -> tuple[SimulatedGpu, ...]:
    """Return the devices to simulate.

    A count gives that many H100 80 GB; `None` or true gives two, enough to try everything from a small model
    on one device to a 70B model over both. A list gives each by its kind (`H100`, `L4`, `RTX 4090`, …) or as
    (name, VRAM in GiB). Raises `InvalidInput` for a kind that is not known.
    """
    if wanted is None or wanted is True:
        wanted = DEFAULT_COUNT
    if isinstance(wanted, int):
        return (_KINDS["H100"],) * wanted
    return tuple(_one(item) for item in wanted)


def _one(item: str | tuple[str, float]) -> SimulatedGpu:
    if isinstance(item, str):
        kind = _known(item)
        if kind is None:
            raise InvalidInput(
                f"There is no simulated GPU of kind {item!r}.",
                fix=f"Use one of {', '.join(_KINDS)}, or a name with its VRAM in GiB.",
                kind=item,
            )
        return kind
    name, vram_gib = item
    kind = _known(name) or next((gpu for gpu in _KINDS.values() if gpu.vendor is _vendor(name)), _KINDS["H100"])
    return replace(kind, name=name, vram_bytes=int(vram_gib * GIB), vendor=_vendor(name))


def _vendor(name: str) -> GpuVendor:
    """Return whose device it is by the first word of its name; NVIDIA's where that is no vendor."""
    known = _known(name)
    word = name.partition(" ")[0].casefold()
    return known.vendor if known else next((item for item in GpuVendor if item.value == word), GpuVendor.NVIDIA)


def _known(name: str) -> SimulatedGpu | None:
    wanted = name.removesuffix(_MARK).casefold()
    for kind, gpu in _KINDS.items():
        if wanted in {kind.casefold(), gpu.name.casefold()}:
            return gpu
    return None


def by_id(specs: Sequence[SimulatedGpu]) -> dict[GpuId, SimulatedGpu]:
    """Return the devices by the ids that they have: `nvidia-0`, `amd-0`, `nvidia-1`, …, counted by vendor."""
    found: dict[GpuId, SimulatedGpu] = {}
    for spec in specs:
        index = sum(other.vendor is spec.vendor for other in found.values())
        found[GpuId(f"{spec.vendor.value}-{index}")] = spec
    return found


class SimulatedGpuProbe:
    """`ports.gpu_probe.GpuProbe` for devices that do not exist; they all say so by `simulated`."""

    def __init__(
        self,
        specs: Sequence[SimulatedGpu],
        state_dir: str | Path,
        *,
        vendor: GpuVendor = GpuVendor.NVIDIA,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Of `specs` those of `vendor` are this probe's. `state_dir` is where simulated engines publish what they
        hold; it need not exist yet."""
        self.vendor = vendor
        self._specs = tuple(spec for spec in specs if spec.vendor is vendor)
        self._state_dir = Path(state_dir)
        self._now = now

    def read(self) -> tuple[Gpu, ...]:
        """Return every device as its engines fill it. Reads a few small files."""
        claims = read_claims(self._state_dir)
        now = self._now()
        return tuple(self._gpu(index, spec, claims, now) for index, spec in enumerate(self._specs))

    def drivers(self) -> DriverReport:
        version, toolkit = _DRIVERS[self.vendor]
        return DriverReport(
            vendor=self.vendor,
            hardware_present=False,
            installed=True,
            version=version,
            toolkit_version=toolkit,
            container_toolkit=None,
            simulated=True,
        )

    def _gpu(self, index: int, spec: SimulatedGpu, claims: tuple[Claim, ...], now: float) -> Gpu:
        gpu_id = GpuId(f"{self.vendor.value}-{index}")
        held = [claim for claim in claims if claim.bytes_by_gpu.get(gpu_id, 0) > 0]
        used = min(spec.vram_bytes, _IDLE_BYTES + sum(claim.bytes_by_gpu[gpu_id] for claim in held))
        load = min(100.0, sum(claim.utilization for claim in held))
        # A slow wave, out of step from device to device, so that idle readings are not suspiciously still.
        wobble = math.sin(2 * math.pi * now / _WOBBLE_SECONDS + index)
        share = load / 100
        return Gpu(
            id=gpu_id,
            vendor=self.vendor,
            index=index,
            uuid=self._uuid(index),
            name=spec.name if spec.name.endswith(_MARK) else spec.name + _MARK,
            vram_total_bytes=spec.vram_bytes,
            vram_used_bytes=used,
            vram_free_bytes=spec.vram_bytes - used,
            pci_address=f"00000000:{index + 1:02X}:00.0",
            driver_version=_DRIVERS[self.vendor][0],
            utilization_percent=round(max(0.0, min(100.0, load + 2 * wobble)), 1) if load else 0.0,
            memory_utilization_percent=round(0.6 * load, 1),
            temperature_celsius=round(_IDLE_CELSIUS + (_FULL_CELSIUS - _IDLE_CELSIUS) * share + wobble, 1),
            power_watts=round(spec.power_limit_watts * (_IDLE_POWER_SHARE + 0.8 * share + 0.005 * wobble), 1),
            power_limit_watts=spec.power_limit_watts,
            clock_core_mhz=int(_IDLE_CLOCK_MHZ + (spec.clock_core_mhz - _IDLE_CLOCK_MHZ) * min(1.0, 2 * share)),
            clock_memory_mhz=spec.clock_memory_mhz,
            compute_capability=spec.compute_capability,
            ecc_enabled=True,
            ecc_uncorrected_errors=0,
            processes=tuple(
                GpuProcess(pid=claim.pid, name=claim.name, used_bytes=claim.bytes_by_gpu[gpu_id]) for claim in held
            ),
            simulated=True,
        )

    def _uuid(self, index: int) -> str:
        """Return a UUID that stays the same for this state directory and differs from any other's."""
        of_vendor = "" if self.vendor is GpuVendor.NVIDIA else self.vendor.value
        digest = hashlib.sha256(f"{self._state_dir.absolute()}\n{of_vendor}{index}".encode()).hexdigest()
        return f"GPU-{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
