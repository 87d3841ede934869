"""What control tells each gateway, and what each gateway tells control.

Whole states with a generation number, never deltas: after a reconnect the newest message is the truth.
Both directions travel as msgpack over a Unix socket (`modelgrid.gateway.link`).
"""

from dataclasses import dataclass, field
from enum import StrEnum


class ReplicaState(StrEnum):
    READY = "ready"
    DRAINING = "draining"
    """Running requests finish; no new ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One engine that serves a model."""

    id: str
    """The deployment's id."""
    host: str
    port: int
    state: ReplicaState = ReplicaState.READY
    places: int | None = None
    """Requests it can work on at once; more would only wait inside it. `None`: not known, not bounded."""
    cache_blocks: int | None = None
    """KV cache blocks of the engine (`vllm:cache_config_info`), to size the prefix table."""
    node: str = ""
    """The node it runs on. Where that is not the gateway's own, `host` and `port` mean nothing: requests go to the
    gateway of that peer, which knows the engine by its id. Empty: this node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another node's gateway, or this one's as the others see it."""

    node: str
    host: str
    port: int
    certificate: str
    """PEM; whoever answers there with another one is not that node."""
    digest: str
    """SHA-256 of the credential with which that node comes here, hex."""


class ModelState(StrEnum):
    READY = "ready"
    STARTING = "starting"
    """A replica is on its way: requests may wait for it."""
    STOPPED = "stopped"
    """Known and not running."""
    ON_REQUEST = "on_request"
    """Known, not running, and brought up by the first request for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRoute:
    """A model that requests can name."""

    id: str
    names: tuple[str, ...]
    """Canonical id and aliases."""
    state: ModelState
    created: int
    """Unix time shown in `/v1/models`."""
    context: int | None = None
    replicas: tuple[Replica, ...] = ()
    retry_after_seconds: int = 5
    """How long a load takes, as measured."""
    loading_since: float | None = None
    """Unix time at which the load under way began."""
    reason: str = ""
    """Why no replica is ready, in a sentence without its full stop; empty while one is, or while that is in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyGrant:
    """An API key as a gateway needs it."""

    id: str
    label: str
    digest: str
    """SHA-256 of the secret, hex."""
    expires_at: float | None = None
    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Settings of the data plane that apply without a restart."""

    cors_origins: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    """Default bound per key; `None`: not bounded."""
    max_body_bytes: int = 32 * 1024**2
    max_held_bytes: int = 256 * 1024**2
    """Of request bodies that arrive or wait for a replica, all connections of one gateway process together."""
    max_header_bytes: int = 64 * 1024
    header_timeout_seconds: float = 10.0
    connect_timeout_seconds: float = 2.0
    first_byte_timeout_seconds: float = 600.0
    idle_timeout_seconds: float = 300.0
    """Between two bytes of an answer."""
    keep_alive_seconds: float = 75.0
    queue_limit: int = 256
    """Requests that may wait per model."""
    queue_seconds: float = 60.0
    drain_seconds: float = 30.0
    eject_seconds: float = 30.0
    """How long a replica that failed several times in a row is left aside, the first time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """All a gateway needs to serve. A larger `generation` replaces a smaller one of the same `epoch`."""

    epoch: str
    """Changes with each start of control, so that generations never need to be stored."""
    generation: int
    models: tuple[ModelRoute, ...] = ()
    keys: tuple[KeyGrant, ...] = ()
    settings: GatewaySettings = GatewaySettings()
    node: str = ""
    """This node's name; empty where it has no peers."""
    peers: tuple[Peer, ...] = ()
    """The gateways of all nodes, this one's included."""
    credential: str = field(default="", repr=False)
    """What this node shows to its peers. Saved with the table, in a file that only the daemon's user can read."""
    control_metrics: str = ""
    """Prometheus text of the control process, shown below the gateway's own on `/metrics`."""
    verdict: str = ""
    """Word of the verdict on the fleet, shown on `/health`; empty: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Cumulative figures of one (model, replica, key label, status class) since the gateway started."""

    model: str
    replica: str
    key: str
    status: str
    """`2xx`, `4xx`, `5xx`, or `cancelled`."""
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    first_byte_buckets: tuple[int, ...] = ()
    duration_buckets: tuple[int, ...] = ()
    duration_seconds_sum: float = 0.0
    first_byte_seconds_sum: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaOutcome:
    """What the gateway saw of one replica since it started."""

    replica: str
    in_flight: int
    """Requests given to it and not yet over."""
    of_peers: int = 0
    """Of these, the ones that came from other nodes' gateways."""
    consecutive_failures: int
    ejected: bool
    last_success_at: float | None = None
    last_failure_at: float | None = None
    last_failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLine:
    """One line of a gateway's log; `number` rises by one from 1."""

    number: int
    at: float
    level: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayReport:
    """Sent up once a second and on reconnect: the full state, cumulative since the gateway started."""

    gateway: str
    """`<index>`; with `pid` the identity of one gateway process."""
    pid: int
    started_at: float
    epoch: str
    """Of the routing table in use; empty before the first one."""
    generation: int
    connections: int = 0
    queued: dict[str, int] = field(default_factory=dict)
    """Requests that wait, by model."""
    series: tuple[Series, ...] = ()
    outcomes: tuple[ReplicaOutcome, ...] = ()
    key_last_used: dict[str, float] = field(default_factory=dict)
    """By key id."""
    wanted_models: dict[str, float] = field(default_factory=dict)
    """Known models that were asked for and are not running, with the time of the last request."""
    draining: bool = False
    lines: tuple[GatewayLine, ...] = ()
    """Of the log: those that were not sent on this connection."""
    compiled: bool = False
    """Its hot path is machine code, not interpreted."""


LATENCY_BUCKETS_SECONDS: tuple[float, ...] = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0,
)  # fmt: skip
"""Upper bounds of the first-byte and duration histograms; one more bucket counts what is above the last.
From the OpenTelemetry GenAI conventions' bounds, widened at both ends."""
