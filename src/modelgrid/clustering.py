"""One node's part in its cluster, put together by its role. Alone, a node is its own control plane."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog

from modelgrid import __version__
from modelgrid.adapters.cluster_files import ClusterFiles, Membership
from modelgrid.adapters.control_plane_http import HttpControlPlane
from modelgrid.adapters.control_plane_http.pinning import fingerprint_of
from modelgrid.adapters.node_certificate import FOLDER, certificate_in
from modelgrid.api.cluster import ControlPlaneApi
from modelgrid.config.file import write_atomically
from modelgrid.config.model import Config
from modelgrid.domain.cluster import Report, SharedRouting
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.introduction import stretched
from modelgrid.domain.join_format import NODE_PREFIX, digest_of
from modelgrid.domain.key_format import SECRET_BITS, make_secret
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.node import Node, NodeLiveness, NodeRole, NodeStatus
from modelgrid.domain.routing import Peer
from modelgrid.ports.clock import Clock
from modelgrid.ports.secrets import Secrets
from modelgrid.ports.store import Store
from modelgrid.services.catalog import CatalogService
from modelgrid.services.cluster.advertise import advertised_host, console_url
from modelgrid.services.cluster.agent import Contact, NodeAgent, Surroundings
from modelgrid.services.cluster.control_plane import ControlPlane
from modelgrid.services.cluster.credential import NodeCredential
from modelgrid.services.cluster.intake import Intake
from modelgrid.services.cluster.joining import introduce
from modelgrid.services.cluster.members import Members
from modelgrid.services.cluster.obedience import Obedience
from modelgrid.services.cluster.orders import OrderBook
from modelgrid.services.cluster.shared_routing import SharedRoutingService
from modelgrid.services.gateways import GatewayService, Neighbourhood
from modelgrid.services.live import LiveFacts
from modelgrid.services.metrics.service import MetricsService
from modelgrid.services.node import LocalNode
from modelgrid.services.node_status import NodeStatusService
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetService

CREDENTIAL_FILE = "credential"
INTRODUCE_SECONDS = 5.0
"""Between two tries of a worker to join by the shared secret."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a node has before it belongs to anything."""

    config: Config
    state_dir: Path
    epoch: int
    """Number of this start of the daemon."""
    store: Store
    clock: Clock
    secrets: Secrets
    registry: DeploymentRegistry
    targets: TargetService
    catalog: CatalogService
    live: LiveFacts
    local: LocalNode
    node_status: NodeStatusService
    metrics: MetricsService


class Alone:
    """A node that is its own control plane and has no other nodes."""

    control: ControlPlane | None = None
    agent: NodeAgent | None = None
    decides = True
    """Whether this node decides what is deployed where."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def nodes(self) -> Sequence[Node]:
        """Return the nodes of the cluster as this one knows them, itself first."""
        return (self._own(),)

    def around(self) -> Neighbourhood:
        """Return what this node's gateways know of the others."""
        return Neighbourhood(node=self._ground.local.name)

    async def load(self) -> None:
        """Read what is stored."""

    async def start(self, gateways: GatewayService) -> None:
        """Begin to work with the others."""

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what has to run for as long as the process does."""
        return ()

    def ordered_entry(self, _model: str) -> CatalogEntry | None:
        """Return what the control plane's catalog says of a model that it has ordered here."""
        return None

    def check_start(self, deployment: DeploymentId) -> None:
        """Raise `RuntimeUnavailable` for what must not be started on this node at present."""

    def stop_grace(self, _deployment: DeploymentId) -> float | None:
        """Return how many seconds an engine may take to end, where it is not the usual."""
        return None

    def answers(self) -> tuple[Callable[[str], str | None], ControlPlaneApi | None]:
        """Return what this node tells other nodes: whose credential is its control plane's, and what only the control
        plane answers."""
        return (lambda _: None), None

    def let_go(self) -> None:
        """Answer what is held: this process ends."""

    async def close(self) -> None:
        """Let go of connections."""

    def _own(self) -> Node:
        ground = self._ground
        return ground.local.read(ground.node_status.of(ground.local.name), ground.clock.now())


class AsControlPlane(Alone):
    """The node that decides for all."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        folder = ground.state_dir / FOLDER
        self._certificate = certificate_in(folder).pem
        self._credential = _own_credential(folder, ground.secrets)
        seconds = ground.config.cluster.heartbeat_interval
        self.members = Members(
            ground.store,
            ground.clock,
            ground.secrets,
            local=ground.local.name,
            fingerprint=fingerprint_of(self._certificate),
            version=__version__,
            shared_key=stretched(secret) if (secret := ground.config.cluster.shared_secret) else None,
        )
        orders = OrderBook(
            registry=ground.registry,
            targets=ground.targets,
            catalog=ground.catalog,
            status_of=ground.node_status.of,
            epoch=ground.epoch,
            heartbeat_seconds=seconds,
            console_url=console_url(ground.config),
        )
        self.control: ControlPlane = ControlPlane(
            members=self.members,
            orders=orders,
            intake=Intake(ground.store, ground.registry, ground.targets, ground.live, ground.clock),
            registry=ground.registry,
            store=ground.store,
            clock=ground.clock,
            local=self._own,
            status_of=ground.node_status.of,
            heartbeat_seconds=seconds,
            version=__version__,
        )
        self.routing = SharedRoutingService(self.members, self._own_peer, ground.epoch)

    def nodes(self) -> Sequence[Node]:
        return self.control.nodes()

    def around(self) -> Neighbourhood:
        return Neighbourhood(
            node=self._ground.local.name,
            peers=self.routing.peers,
            credential=lambda: self._credential,
            lost=lambda: [node.name for node in self.nodes() if node.liveness is NodeLiveness.LOST],
        )

    async def load(self) -> None:
        await self.members.load()
        self.control.load()

    async def start(self, gateways: GatewayService) -> None:
        self.control.orders.start()
        self._ground.node_status.changed.listen(self.control.orders.all_changed)
        self.members.changed.listen(gateways.republish)
        self.control.changed.listen(gateways.republish)
        gateways.on_table.append(self.routing.take)
        gateways.republish()
        self.control.take_wishes = lambda report: gateways.act_on(report.wanted_models, report.key_last_used)
        self.control.on_report.append(self._count)

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        return (self.control.run(),)

    def answers(self) -> tuple[Callable[[str], str | None], ControlPlaneApi | None]:
        api = ControlPlaneApi(
            control=self.control,
            routing=self.routing,
            heartbeat_seconds=self._ground.config.cluster.heartbeat_interval,
            name=self._ground.local.name,
        )
        return (lambda _: None), api

    def let_go(self) -> None:
        self.control.orders.close()
        self.routing.close()

    def _count(self, report: Report) -> None:
        """Count what the gateways of another node count, as long as three of its heartbeats may take."""
        fresh = 3 * self._ground.config.cluster.heartbeat_interval
        for item in report.gateways:
            named = replace(item, gateway=f"{report.node.name}/{item.gateway}")
            self._ground.metrics.take_report(named, fresh_seconds=fresh)

    def _own_peer(self) -> Peer:
        config = self._ground.config
        return Peer(
            node=self._ground.local.name,
            host=advertised_host(config),
            port=config.cluster.peer_port,
            certificate=self._certificate,
            digest=digest_of(self._credential),
        )


class AsWorker(Alone):
    """A node that does what its control plane decides. One that has not joined yet waits to be joined."""

    decides = False

    def __init__(self, ground: Ground, membership: Membership) -> None:
        super().__init__(ground)
        self._files = ClusterFiles(ground.state_dir / FOLDER)
        self._membership = membership
        self._routing = self._files.routing()
        self._link = HttpControlPlane(membership.url, membership.certificate, membership.credential)
        self.obedience = Obedience(ground.registry, ground.targets, ground.clock, ground.store)
        self._gateways: GatewayService | None = None
        self._credential = NodeCredential(
            ground.local.name,
            membership.credential,
            ground.clock,
            to_gateways=self._republish,
            use=self._use_credential,
        )
        self.agent: NodeAgent = NodeAgent(
            link=self._link,
            contact=Contact(control_plane=membership.control_plane, url=membership.url),
            obedience=self.obedience,
            registry=ground.registry,
            targets=ground.targets,
            store=ground.store,
            live=ground.live,
            clock=ground.clock,
            around=Surroundings(
                node=self._own,
                gateways=lambda: self._gateways.reports() if self._gateways else (),
                wanted_models=lambda: self._gateways.wanted_models() if self._gateways else {},
                key_last_used=lambda: self._gateways.key_last_used() if self._gateways else {},
            ),
            epoch=ground.epoch,
            version=__version__,
            heartbeat_seconds=ground.config.cluster.heartbeat_interval,
            take_routing=self._take_routing,
            take_credential=self._credential.offer,
            take_status=self._take_status,
        )

    def around(self) -> Neighbourhood:
        return Neighbourhood(
            node=self._ground.local.name,
            credential=lambda: self._credential.of_gateways,
            shared=lambda: self._routing,
        )

    def ordered_entry(self, model: str) -> CatalogEntry | None:
        return self.obedience.entries.get(model)

    async def load(self) -> None:
        await self.obedience.load()
        await self.agent.load()

    def check_start(self, deployment: DeploymentId) -> None:
        self.agent.check_start(deployment)

    def stop_grace(self, deployment: DeploymentId) -> float | None:
        return self.agent.stop_grace_seconds(deployment)

    async def start(self, gateways: GatewayService) -> None:
        self._gateways = gateways
        self.agent.start()

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        return (*self.agent.loops(), self._credential.run())

    async def close(self) -> None:
        await self._link.close()

    def answers(self) -> tuple[Callable[[str], str | None], ControlPlaneApi | None]:
        return self._control_plane_of, None

    def _control_plane_of(self, credential: str) -> str | None:
        peers = self._routing.peers if self._routing is not None else ()
        digest = digest_of(credential)
        known = any(peer.digest == digest and peer.node == self._membership.control_plane for peer in peers)
        return self._membership.control_plane if known else None

    def _take_routing(self, routing: SharedRouting) -> None:
        self._routing = _reachable(routing, self._membership)
        self._files.keep_routing(self._routing)
        self._credential.hear(self._routing)
        self._republish()

    def _use_credential(self, credential: str) -> None:
        self._membership = replace(self._membership, credential=credential)
        self._files.keep_membership(self._membership)
        self._link.use(credential)

    def _republish(self) -> None:
        if self._gateways is not None:
            self._gateways.republish()

    async def _take_status(self, status: NodeStatus) -> None:
        await self._ground.node_status.set(self._ground.local.name, status, by="control plane")


def standing(ground: Ground) -> Alone:
    """Return the node's part, by its role and by whether it has joined."""
    role = ground.config.cluster.role
    if role is NodeRole.CONTROL_PLANE:
        return AsControlPlane(ground)
    if role is NodeRole.WORKER:
        membership = ClusterFiles(ground.state_dir / FOLDER).membership()
        return AsWorker(ground, membership) if membership is not None else NotJoined(ground)
    return Alone(ground)


class NotJoined(Alone):
    """A worker without a control plane: it keeps what it has, and decides nothing. Where config.json names a control
    plane and a shared secret it introduces itself, over and over; `joined` is awaited when that worked."""

    decides = False

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self.joined: Callable[[], Awaitable[None]] | None = None

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        cluster = self._ground.config.cluster
        return (self._introduce(),) if cluster.control_plane_url and cluster.shared_secret else ()

    async def _introduce(self) -> None:
        ground, folder, said = self._ground, self._ground.state_dir / FOLDER, ""
        while True:
            try:
                membership = await introduce(
                    ground.config,
                    folder,
                    ground.local.name,
                    ground.clock,
                    lambda url: advertised_host(ground.config, urlsplit(url).hostname or ""),
                )
            except ModelGridError as error:
                if error.message != said:
                    log.warning("not taken into the cluster yet; tried again", reason=str(error))
                said = error.message
                await ground.clock.sleep(INTRODUCE_SECONDS)
                continue
            ClusterFiles(folder).keep_membership(membership)
            log.info("joined by the shared secret", control_plane=membership.control_plane)
            if self.joined is not None:
                await self.joined()
            await asyncio.Event().wait()  # the daemon restarts as a member


def _reachable(routing: SharedRouting, membership: Membership) -> SharedRouting:
    """Return the routing with the control plane's gateway at the address by which this node knows it."""
    host = urlsplit(membership.url).hostname or ""
    peers = tuple(replace(peer, host=host) if peer.node == membership.control_plane else peer for peer in routing.peers)
    return replace(routing, peers=peers)


def _own_credential(folder: Path, secrets: Secrets) -> str:
    """Return the control plane's own credential towards other nodes; made once."""
    path = folder / CREDENTIAL_FILE
    if not path.exists():
        write_atomically(path, make_secret(secrets.integer(SECRET_BITS), NODE_PREFIX) + "\n")
    return path.read_text().strip()
