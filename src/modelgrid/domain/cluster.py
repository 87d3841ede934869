"""What the control plane and the other nodes tell each other.

Whole states, never deltas: whatever was lost on the way is in the next message. The control plane owns what is wanted
of a deployment (`Order`), the node that runs it owns what has become of it (the rest of `Deployment`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.engine import PullProgress
from modelgrid.domain.event import Event
from modelgrid.domain.history import HistoryRecord
from modelgrid.domain.ids import DeploymentId, ModelId, NodeName
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.node import Node, NodeStatus
from modelgrid.domain.placement import Placement
from modelgrid.domain.routing import GatewayReport, KeyGrant, ModelRoute, Peer
from modelgrid.domain.target import EngineSpec, Origin, RuntimeKind, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node that has joined, as the control plane keeps it. Its credential is known by its digest only."""

    name: NodeName
    joined_at: float
    peer_url: str
    """Where its gateways take requests from other nodes, `https://host:port`."""
    cluster_url: str
    """Where its control process answers other nodes, likewise."""
    certificate: str
    """PEM of the certificate that answers at both, and nothing else does."""
    digest: str
    """SHA-256 of the node's credential, hex."""
    next_digest: str = ""
    """Of the credential it was given last and has not used yet; the old one holds until then."""
    rotated_at: float = 0.0
    node: Node | None = None
    """What it last said of itself, for the time until it speaks again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """An invitation. Known by its digest; good once, for a while."""

    id: str
    digest: str
    created_at: float
    created_by: str
    expires_at: float
    used_at: float | None = None
    used_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """How a node introduces itself."""

    name: NodeName
    version: str
    at: float
    """Its clock."""
    peer_url: str
    cluster_url: str
    certificate: str
    """PEM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinCall:
    """What a node sends to join, once it knows whom it sends it to."""

    secret: str = field(repr=False)
    request: JoinRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """How a control plane answers a node that asks whether they share a secret."""

    proof: str
    """Made with the node's nonce."""
    nonce: str
    """What the node has to answer with; good once, for a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntroducedCall:
    """What a node sends to join by the shared secret, once the control plane has proved that it knows it."""

    nonce: str
    proof: str
    request: JoinRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The answer to a node that was taken in."""

    control_plane: NodeName
    credential: str = field(repr=False)
    heartbeat_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is wanted of one deployment on the node that gets it."""

    id: DeploymentId
    target: str
    model: ModelId
    origin: Origin
    spec: EngineSpec = field(repr=False)
    """Environment values are open: an order travels encrypted, and is sealed again where it arrives."""
    runtime: RuntimeKind
    created_at: float
    intent: Intent
    intent_reason: str = ""
    intent_by: str = ""
    intent_at: float = 0.0
    restarts_asked: int = 0
    placement: Placement
    exclusive: bool = False
    """Its node stops it when it is cut off, before anybody else may start it."""
    entry: CatalogEntry | None = None
    """What the control plane's catalog says of the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """All that one node is to do. A larger (`epoch`, `sequence`) replaces a smaller one; epochs are start times of the
    control plane, in nanoseconds."""

    node: NodeName
    epoch: int
    sequence: int
    status: NodeStatus
    orders: tuple[Order, ...] = ()
    unchanged: bool = False
    """`orders` are left out, as the node has obeyed those of this (`epoch`, `sequence`) already."""
    heard: int = 0
    """Sequence of the newest report that these orders know of; smaller than that of the report they answer when that
    was not for this start of the control plane, and has to be said again."""
    heartbeat_seconds: float = 5.0
    events_taken: int | None = None
    """Number of the newest event of the node's own timeline that the control plane has; `None`: not looked up yet."""
    credential: str = field(default="", repr=False)
    """A new credential of the node, to be used from now on; empty: go on with the one there is."""
    console_url: str = ""
    """Where the control plane's console is; empty from a minor version before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is known of a deployment only while it is under way."""

    phase: str = ""
    trouble: str = ""
    trouble_since: float | None = None
    not_ready_because: str = ""
    pull: PullProgress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A heartbeat: all that a node knows of itself. A larger (`epoch`, `sequence`) replaces a smaller one; epochs are
    start times of the node's daemon, in nanoseconds. `to` makes it worthless for any later start of the control plane,
    so that one that was recorded and is sent again is never taken."""

    node: Node
    version: str
    epoch: int
    sequence: int
    at: float
    """The node's clock: the control plane sees how far it is off."""
    to: int = 0
    """Epoch of the control plane that it is for, as that one's last answer said it; 0 before there was one."""
    obeyed: tuple[int, int] = (0, 0)
    """(epoch, sequence) of the newest orders that the node has taken over."""
    may_omit: bool = False
    """The node understands `Orders.unchanged`. A minor version before it would take them for nothing to do."""
    deployments: tuple[Deployment, ...] = ()
    departed: tuple[HistoryRecord, ...] = ()
    """Those that were ordered away and are gone, until no order names them any more."""
    progress: Mapping[DeploymentId, Progress] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    """The next ones of the node's own timeline, after those that the control plane has; with their numbers there."""
    targets: tuple[Target, ...] = ()
    """What the node was asked for before it joined, or by its own config.json; the control plane adopts them."""
    gateways: tuple[GatewayReport, ...] = ()
    """What its gateways count, without the lines of their logs."""
    wanted_models: Mapping[str, float] = field(default_factory=dict)
    """Models that clients asked this node for and that do not run, with the time of the last request."""
    key_last_used: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRouting:
    """What every gateway of the cluster has to know, the same for all nodes. A larger (`epoch`, `generation`) replaces
    a smaller one; one with `since` says only how it differs from that generation, to a node that has it."""

    epoch: int
    generation: int
    since: int = 0
    """Generation of the same epoch that the rest is to be added to; 0: this is all. A minor version before it neither
    asks for such nor gets it."""
    models: tuple[ModelRoute, ...] = ()
    keys: tuple[KeyGrant, ...] = ()
    peers: tuple[Peer, ...] = ()
    requests_per_minute: int | None = None
    """Default bound per key, on each node."""
    gone_models: tuple[str, ...] = ()
    """Ids of what is not there any more; with `since` only."""
    gone_keys: tuple[str, ...] = ()
    gone_peers: tuple[tuple[str, str], ...] = ()
    """By node and digest."""
