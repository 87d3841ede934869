"""Nodes: the machines that run the daemon."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from modelgrid.domain.gpu import GpuInventory
from modelgrid.domain.ids import GpuId, NodeName


class NodeRole(StrEnum):
    STANDALONE = "standalone"
    CONTROL_PLANE = "control-plane"
    WORKER = "worker"


class NodeStatus(StrEnum):
    """What the operator wants of the node."""

    ACTIVE = "active"
    CORDONED = "cordoned"
    DRAINING = "draining"


class NodeLiveness(StrEnum):
    """What the control plane sees of the node."""

    READY = "ready"
    SUSPECT = "suspect"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    name: NodeName
    role: NodeRole = NodeRole.STANDALONE
    status: NodeStatus = NodeStatus.ACTIVE
    liveness: NodeLiveness = NodeLiveness.READY
    advertise_url: str = ""
    heartbeat_at: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    inventory: GpuInventory
    memory_total_bytes: int = 0
    memory_available_bytes: int = 0
    """Host memory as measured; what an engine on the CPU is fitted against."""
    assignments: Mapping[GpuId, str] = field(default_factory=dict)
    """GPUs kept for one model or target (`gpus.assignments`): nothing else is placed on them."""
    runtimes: tuple[str, ...] = ()
    """Engine runtimes that work on this node."""
    default_runtime: str = ""
    """The one that engines get here unless their target names another."""
    version: str = ""
    problem: str = ""
    """Why nothing is placed here although the node speaks, such as a clock that is off; empty when all is well."""
