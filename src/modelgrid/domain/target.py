"""Targets: what is desired."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from modelgrid.domain.gpu import GpuVendor
from modelgrid.domain.ids import GpuId, ModelId, NodeName


class Origin(StrEnum):
    """Who created it, and so who may change it."""

    CONFIG = "config"
    """From `containers` in config.json: start and stop only."""
    CATALOG = "catalog"
    """From `models.autoLoad` or `models.autoDeploy`."""
    API = "api"
    """From the console, the command line or the API: everything."""


class RuntimeKind(StrEnum):
    DOCKER = "docker"
    PODMAN = "podman"
    PROCESS = "process"
    EXTERNAL = "external"
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A host folder made visible to an engine. Must lie below an allowed root, checked by real path."""

    source: str
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """How each instance of a target is run. `None` or empty: the catalog's or the node's default."""

    runtime: RuntimeKind | None = None
    image: str | None = None
    args: tuple[str, ...] = ()
    """Further arguments of `vllm serve`, after the catalog's own."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment of the engine. Values are sealed (`ports.secrets`) wherever a spec is stored."""
    gpu_count: int | None = None
    """GPUs per instance; 0 runs the engine on the CPU and in host memory."""
    gpus: tuple[GpuId, ...] = ()
    """Pinned GPUs; the count is theirs."""
    context: int | None = None
    """Tokens per sequence (`--max-model-len`)."""
    concurrency: int | None = None
    """Sequences of full context length that the KV cache must hold at once."""
    mounts: tuple[Mount, ...] = ()
    trust_remote_code: bool = False
    url: str | None = None
    """Runtime `external`: base URL of a vLLM that runs already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Where instances may land."""

    node: NodeName | None = None
    vendor: GpuVendor | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    pack: bool = False
    """Fill nodes and GPUs one after the other. Otherwise instances are spread."""
    exclusive: bool = False
    """Never more instances than desired, not even while the network is cut: a node that is cut off stops them before
    they are started elsewhere, and they are not replaced before the old one has gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A row of Cluster ▸ Desired. `name` is its key: the canonical model id, or the name given in config.json."""

    name: str
    model: ModelId
    replicas: int
    origin: Origin
    spec: EngineSpec = field(default_factory=EngineSpec)
    constraints: Constraints = field(default_factory=Constraints)
    created_at: float
    updated_at: float
    updated_by: str = ""
    revision: int = 0
    """Counted up by the store with each change; the value of the `ETag`."""
