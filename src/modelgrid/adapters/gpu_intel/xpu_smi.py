"""What xpu-smi adds to sysfs: names, UUIDs, total and used memory, utilisation."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelgrid.adapters.pci.host import find_binary
from modelgrid.adapters.pci.tool import run_json
from modelgrid.domain.units import MIB

_STATS_SECONDS = 10.0
"""The tool starts Level Zero anew each time, which costs about a second of CPU: ask it rarely."""


@dataclass(frozen=True, slots=True)
class XpuDevice:
    device_id: int
    name: str
    uuid: str
    total_bytes: int | None


class XpuSmi:
    """Answers of `xpu-smi`, kept: the devices for good, their readings for ten seconds. Empty where it is missing."""

    def __init__(self, root: Path = Path("/"), monotonic: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._monotonic = monotonic
        self._devices: dict[str, XpuDevice] | None = None
        self._stats: dict[int, tuple[float, dict[str, float]]] = {}

    def device(self, pci_address: str) -> XpuDevice | None:
        """Return what the tool says of the device at this address. Blocking for seconds at the first call."""
        if self._devices is None:
            self._devices = {}
            binary = find_binary("xpu-smi", self._root)
            listing = run_json(binary, "discovery", "-j")
            for entry in listing.get("device_list", ()) if isinstance(listing, dict) else ():
                number = entry.get("device_id")
                detail = run_json(binary, "discovery", "-d", str(number), "-j")
                self._devices[str(entry.get("pci_bdf_address", "")).lower()] = XpuDevice(
                    device_id=int(number),
                    name=str(entry.get("device_name", "")),
                    uuid=str(entry.get("uuid", "")),
                    total_bytes=_size(detail) if isinstance(detail, dict) else None,
                )
        return self._devices.get(pci_address)

    def used_bytes(self, device: XpuDevice) -> int | None:
        value = self._reading(device, "XPUM_STATS_MEMORY_USED")
        return None if value is None else int(value * MIB)

    def utilization_percent(self, device: XpuDevice) -> float | None:
        return self._reading(device, "XPUM_STATS_GPU_UTILIZATION")

    def _reading(self, device: XpuDevice, metric: str) -> float | None:
        taken_at, values = self._stats.get(device.device_id, (float("-inf"), {}))
        now = self._monotonic()
        if now - taken_at >= _STATS_SECONDS:
            document = run_json(find_binary("xpu-smi", self._root), "stats", "-d", str(device.device_id), "-j")
            values = _metrics(document)
            self._stats[device.device_id] = (now, values)
        return values.get(metric)


def _size(detail: dict[str, Any]) -> int | None:
    """Return the memory of the device: bytes as text in version 1, `32656.00 MiB` in later ones."""
    text = str(detail.get("memory_physical_size_byte") or detail.get("memory_physical_size") or "")
    if text.isdigit():
        return int(text)
    match = re.fullmatch(r"([\d.]+) MiB", text)
    return int(float(match[1]) * MIB) if match else None


def _metrics(document: Any) -> dict[str, float]:
    """Return the device-level metrics; of devices with several tiles and no total, memory is the sum of the tiles."""
    if not isinstance(document, dict):
        return {}
    values: dict[str, float] = {}
    for entry in document.get("device_level") or ():
        if isinstance(entry.get("value"), (int, float)):
            values[entry.get("metrics_type", "")] = float(entry["value"])
    tiles = [entry for tile in document.get("tile_level") or () for entry in tile.get("data_list") or ()]
    name = "XPUM_STATS_MEMORY_USED"
    used = [float(entry["value"]) for entry in tiles if entry.get("metrics_type") == name]
    if name not in values and used:
        values[name] = sum(used)
    return values
