"""Engines: the vLLM processes and containers behind deployments, as runtimes see them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from modelgrid.domain.gpu import GpuVendor
from modelgrid.domain.ids import DeploymentId, GpuId
from modelgrid.domain.target import Mount, RuntimeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuBinding:
    """A GPU given to an engine."""

    id: GpuId
    vendor: GpuVendor
    index: int
    uuid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLaunch:
    """Everything a runtime needs to start one engine. The same launch twice is the same engine."""

    deployment: DeploymentId
    attempt: int
    """Which start of the deployment this is, from 1. Part of the engine's identity."""
    argv: tuple[str, ...]
    """Whole command for a process; for a container the arguments after the image's own entry point."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Opened values: never log or store a launch."""
    image: str = ""
    port: int
    """TCP port on 127.0.0.1 of the host where the engine answers."""
    container_port: int = 8000
    gpus: tuple[GpuBinding, ...] = ()
    mounts: tuple[Mount, ...] = ()
    shm_bytes: int = 1024**3
    network: str = ""
    reserved_bytes: int = 0
    """Memory promised to it on each GPU; the simulated engine fills just this much."""
    url: str | None = None
    """Runtime `external` only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRef:
    """How to find an engine again, also after a restart of the daemon. Stored with the deployment."""

    runtime: RuntimeKind
    id: str
    """Container id; `<pid>:<start time in clock ticks>` for a process; the URL for an external engine."""
    deployment: DeploymentId
    attempt: int
    url: str
    """Base URL where it answers, `http://127.0.0.1:<port>`."""


class EngineState(StrEnum):
    RUNNING = "running"
    EXITED = "exited"
    """It is there and does not run: never started, exited or killed."""
    GONE = "gone"
    """The runtime answered and does not know it."""
    UNKNOWN = "unknown"
    """The runtime does not answer. Nothing may be concluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineExit:
    """How an engine ended. `code` is the exit status, `signal` the number of the signal that killed it."""

    at: float
    code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False
    """Killed by the kernel or the runtime for exceeding host memory."""
    error: str = ""
    """The runtime's own words, for example why a container could not be started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    state: EngineState
    started_at: float | None = None
    exit: EngineExit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """Resources an engine uses on the host."""

    memory_bytes: int | None = None
    cpu_percent: float | None = None
    pids: tuple[int, ...] = ()
    """Host pids of the engine, to tell its GPU memory from others'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerProgress:
    id: str
    status: str
    """The registry client's word: `Downloading`, `Extracting`, `Pull complete`, `Already exists`, …"""
    done_bytes: int = 0
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """Progress of an image pull."""

    image: str
    layers: tuple[LayerProgress, ...] = ()

    @property
    def done_bytes(self) -> int:
        return sum(layer.done_bytes for layer in self.layers)

    @property
    def total_bytes(self) -> int:
        """Of the layers whose size is known already; grows while the manifest is read."""
        return sum(layer.total_bytes or layer.done_bytes for layer in self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of an engine's output, without its line end. `at` is when the runtime received it."""

    at: float
    stream: str
    """`stdout` or `stderr`."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeHealth:
    """Whether engines can be started with a runtime. `problem` and `fix` are empty when they can."""

    kind: RuntimeKind
    available: bool
    version: str = ""
    problem: str = ""
    fix: str = ""
