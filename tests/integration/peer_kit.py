"""Gateways of several nodes that know each other, each a real process with its own certificate and credential."""

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway_kit import Client, Gateway, Response, Upstream, running

from modelgrid.adapters.node_certificate import NodeCertificate, ensure_certificate
from modelgrid.domain.routing import GatewaySettings, ModelRoute, Peer, Replica, RoutingTable

DEPLOYMENT = "X-ModelGrid-Deployment"


def pinned(pem: str) -> ssl.SSLContext:
    """How somebody connects who knows one certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=pem)
    return context


@dataclass
class Node(Gateway):
    """The gateway of one node."""

    name: str = ""
    peers: tuple[Peer, ...] = ()
    credential: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.credential = "mgn-" + hashlib.sha256(f"{self.folder} {self.name}".encode()).hexdigest()
        self.files: NodeCertificate = ensure_certificate(self.folder / "cluster", self.name)
        self.for_peers = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.for_peers.set_inheritable(True)
        self.peer_port = self.for_peers.getsockname()[1]

    def more_arguments(self) -> list[str]:
        files = self.files
        return [
            *("--peers", str(self.for_peers.fileno())),
            *("--certificate", str(files.certificate), "--key", str(files.key)),
        ]

    def more_sockets(self) -> list[int]:
        return [self.for_peers.fileno()]

    def close(self) -> None:
        super().close()
        self.for_peers.close()

    @property
    def peer(self) -> Peer:
        """As the others know it."""
        return Peer(
            node=self.name,
            host="127.0.0.1",
            port=self.peer_port,
            certificate=self.files.pem,
            digest=hashlib.sha256(self.credential.encode()).hexdigest(),
        )

    def table(self) -> RoutingTable:
        return replace(super().table(), node=self.name, peers=self.peers, credential=self.credential)

    def here(self, upstream: Upstream, name: str, **fields: Any) -> Replica:
        """An engine of this node."""
        return replace(upstream.replica(name, **fields), node=self.name)

    async def knows(self, *peers: Peer) -> None:
        """Publish other peers."""
        self.peers = peers
        await self.publish(*self.models)

    @asynccontextmanager
    async def as_peer(self, context: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
        """A raw connection to the port for peers."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.peer_port, ssl=context or pinned(self.files.pem), limit=1 << 26
        )
        client = Client(reader, writer)
        try:
            yield client
        finally:
            await client.close()

    async def ask_as_peer(self, credential: str | None, deployment: str = "", **options: Any) -> Response:
        """One request for model `m` on the port for peers."""
        headers = [(DEPLOYMENT, deployment)] if deployment else []
        headers += list(options.pop("headers", ()))
        body = options.pop("body", {"model": "m", "messages": []})
        path = options.pop("path", "/v1/chat/completions")
        async with self.as_peer() as client:
            return await client.ask("POST", path, body, key=credential, headers=headers, **options)

    async def wait_ready(self, table_in_use: bool = True) -> None:
        await self.wait_for_metric("modelgrid_routing_generation", self.generation if table_in_use else 0)


async def publish(nodes: Sequence[Node], *models: ModelRoute) -> None:
    """The same models on all nodes, as a control plane tells them."""
    await asyncio.gather(*(node.publish(*models) for node in nodes))


@asynccontextmanager
async def cluster(folder: Path, *names: str, **settings: Any) -> AsyncIterator[list[Node]]:
    """Nodes that know each other and no models yet. Their logs must hold no error when they end."""
    async with AsyncExitStack() as stack:
        nodes = []
        for name in names:
            home = folder / name
            home.mkdir()
            nodes.append(await stack.enter_async_context(running(Node(home, GatewaySettings(**settings), name=name))))
        for node in nodes:
            node.peers = tuple(other.peer for other in nodes)
        await publish(nodes)
        yield nodes
