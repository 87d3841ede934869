"""Scheduling decisions: which GPU was chosen, and for each one that was not, why, in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelgrid.domain.ids import GpuId, NodeName


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTerm:
    """One summand of a memory need, per GPU. `formula` shows how it came about, with its numbers."""

    name: str
    bytes: int
    formula: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """What one instance needs on each of its GPUs (or of host memory, when `gpu_count` is 0)."""

    gpu_count: int
    terms: tuple[MemoryTerm, ...]

    @property
    def per_gpu_bytes(self) -> int:
        return sum(term.bytes for term in self.terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the decision says of one GPU, or of a whole node when `gpu` is `None`."""

    node: NodeName
    gpu: GpuId | None = None
    chosen: bool = False
    free_bytes: int | None = None
    """Measured as free."""
    promised_bytes: int = 0
    """Promised to deployments that are still loading; not available although measured as free."""
    needed_bytes: int | None = None
    code: str
    """Stable word for the reason: `chosen`, `too_little_memory`, `larger_than_device`, `node_cordoned`, …"""
    reason: str
    """`chosen: …` or why not, with the numbers: `9.80 GiB free, 17.6 GiB needed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer of `fit`. Placed when `node` is set."""

    node: NodeName | None = None
    gpus: tuple[GpuId, ...] = ()
    need: MemoryNeed
    verdicts: tuple[Verdict, ...] = ()
    omitted: Mapping[str, int] = field(default_factory=dict)
    """In a large cluster: how many more GPUs and nodes there were, by the code of their verdict."""
    summary: str
    """One sentence: where it landed, or what is missing for it to land."""

    @property
    def placed(self) -> bool:
        return self.node is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A deployment on a node and its GPUs, with the decision that put it there."""

    node: NodeName
    gpus: tuple[GpuId, ...]
    decision: Decision
    placed_at: float
    epoch: int = 1
    """Counted up each time the deployment is placed anew; nodes refuse instructions with an older one."""
