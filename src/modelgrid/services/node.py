"""The facts of this machine as one node of the cluster. Standalone is a cluster of one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelgrid import __version__
from modelgrid.domain.gpu import GpuInventory
from modelgrid.domain.ids import GpuId, NodeName
from modelgrid.domain.node import Node, NodeRole, NodeStatus


@dataclass(slots=True, kw_only=True)
class LocalNode:
    """Reads this machine. `inventory` returns the newest GPU inventory without blocking."""

    name: NodeName
    role: NodeRole
    advertise_url: str
    labels: Mapping[str, str]
    assignments: Mapping[GpuId, str]
    """May be replaced while the daemon runs."""
    runtimes: tuple[str, ...]
    default_runtime: str
    inventory: Callable[[], GpuInventory]

    def read(self, status: NodeStatus, now: float) -> Node:
        total, available = host_memory()
        return Node(
            name=self.name,
            role=self.role,
            status=status,
            advertise_url=self.advertise_url,
            heartbeat_at=now,
            labels=self.labels,
            inventory=self.inventory(),
            memory_total_bytes=total,
            memory_available_bytes=available,
            assignments=self.assignments,
            runtimes=self.runtimes,
            default_runtime=self.default_runtime,
            version=__version__,
        )


def host_memory(meminfo: Path = Path("/proc/meminfo")) -> tuple[int, int]:
    """Return total and available host memory in bytes (`MemTotal`, `MemAvailable`)."""
    values: dict[str, int] = {}
    for line in meminfo.read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in {"MemTotal", "MemAvailable"}:
            values[name] = int(rest.split()[0]) * 1024
    return values["MemTotal"], values["MemAvailable"]
