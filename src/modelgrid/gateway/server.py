"""One gateway process from start to exit."""

import asyncio
import logging
import os
import signal
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from modelgrid.domain.routing import GatewayReport, ReplicaOutcome, RoutingTable
from modelgrid.gateway import compiled
from modelgrid.gateway.board import Board
from modelgrid.gateway.cache import TableCache
from modelgrid.gateway.core import Core
from modelgrid.gateway.link import GatewayLink
from modelgrid.gateway.log_lines import LineKeeper
from modelgrid.gateway.peer_port import PeerConnection, PeerPort
from modelgrid.gateway.protocol import ClientConnection
from modelgrid.gateway.replica import ReplicaEntry

log = logging.getLogger(__name__)

BACKLOG = 4096
"""Connections the kernel keeps while the process is busy or being replaced; `net.core.somaxconn` bounds it."""
HANDSHAKE_SECONDS = 10.0
FAREWELL_SECONDS = 2.0
"""How long a client may take to take leave of TLS, before the connection is reset."""
FLUSH_SECONDS = 1.0
"""How long last errors may take to reach their clients after the drain has ended."""


@dataclass(frozen=True, slots=True)
class ClientPort:
    """Where clients are listened for, and how they are answered."""

    sockets: Sequence[socket.socket]
    tls: ssl.SSLContext | None = None
    """`None`: without TLS."""


class GatewayServer:
    """Serves on a socket that somebody else holds, by the table that control sends."""

    def __init__(
        self,
        index: int,
        clients: ClientPort,
        board: Board,
        link: Path,
        cache: Path,
        peers: PeerPort | None,
        on_ready: Callable[[], None],
        lines: LineKeeper,
    ) -> None:
        """`peers`: where this node takes requests of others. `on_ready` is called once, when requests are accepted and
        there is a table to serve them by."""
        self._index = index
        self._board = board
        self._clients = clients
        self._peers = peers
        self._link_path = link
        self._cache = TableCache(cache)
        self._lines = lines
        self._on_ready: Callable[[], None] | None = on_ready
        self._listens = False
        self._saving: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()  # a second signal: do not wait for the requests

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain; returns when no request is left."""
        loop = asyncio.get_running_loop()
        self._core = core = Core(loop, self._index, self._board)
        core.deadlines.on_tick(self._board.look_around)
        core.deadlines.on_tick(core.fleet.refresh)
        core.deadlines.on_tick(core.figures.tick)
        cached = self._cache.load()
        if cached is not None:
            self._apply_cached(cached)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        core.deadlines.start()
        link = GatewayLink(self._link_path, self.report, self._take_table, self._lines.begin)
        core.tell_control = link.send_report
        linking = asyncio.create_task(link.run())
        clients = self._clients
        servers = await self._serve(ClientConnection, clients.sockets, clients.tls)
        servers += await self._serve_peers()
        self._listens = True
        form = "compiled" if compiled.running() else "interpreted"
        log.info("listens on %s:%d, %s", *clients.sockets[0].getsockname()[:2], form)
        self._announce()
        await self._stop.wait()
        core.draining = True
        link.send_report()
        for server in servers:
            server.close()  # this process's hold on the socket; the supervisor keeps the socket itself
        await self._drain()
        link.send_report()
        linking.cancel()
        await asyncio.gather(linking, return_exceptions=True)
        if self._saving is not None:
            await self._saving
        core.fleet.close()
        core.deadlines.stop()
        core.figures.close()
        self._board.leave()
        log.info("has ended")

    def report(self) -> GatewayReport:
        """Return the whole state for control."""
        core = self._core
        table, counters = core.table, core.counters
        now = core.loop.time()
        of_peers = Counter(item.replica.id for item in core.exchanges if item.of_peer and item.replica is not None)
        return GatewayReport(
            gateway=str(core.index),
            pid=os.getpid(),
            started_at=core.started_at,
            epoch=table.epoch if table is not None else "",
            generation=table.generation if table is not None else 0,
            connections=len(core.connections) - core.peer_connections,
            queued={model.route.id: len(model.line) for model in core.fleet.models() if model.line},
            series=counters.series(),
            outcomes=tuple(_outcome(replica, now, of_peers[replica.id]) for replica in core.fleet.replicas()),
            key_last_used=dict(counters.key_last_used),
            wanted_models=dict(counters.wanted),
            draining=core.draining,
            lines=self._lines.take(),
            compiled=compiled.running(),
        )

    async def _serve_peers(self) -> list[asyncio.Server]:
        """Listen for other nodes' gateways. Without a usable certificate nobody does; clients are served anyway."""
        if self._peers is None:
            return []
        try:
            context = self._peers.context()
        except OSError as error:
            log.warning("the certificate of this node is not usable (%s): nothing is taken from other nodes", error)
            return []
        return await self._serve(PeerConnection, self._peers.sockets, context)

    async def _serve(
        self, kind: type[ClientConnection], sockets: Sequence[socket.socket], tls: ssl.SSLContext | None
    ) -> list[asyncio.Server]:
        core = self._core
        return [
            await core.loop.create_server(
                lambda: cast("asyncio.Protocol", kind(core)),
                sock=item,
                backlog=BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
                ssl_shutdown_timeout=FAREWELL_SECONDS if tls else None,
            )
            for item in sockets
        ]

    def _apply_cached(self, table: RoutingTable) -> None:
        try:
            self._core.apply(table)
        except ValueError as error:
            log.warning("the routing cache is not usable: %s", error)
        else:
            log.info("serving with the saved routing table, generation %d", table.generation)

    def _take_table(self, table: RoutingTable) -> None:
        first = self._core.heard_control_at is None
        self._core.heard_control_at = self._core.loop.time()
        if self._core.apply(table, anyhow=first):
            self._save_soon()
            self._announce()

    def _announce(self) -> None:
        if self._on_ready is not None and self._listens and self._core.table is not None:
            announce, self._on_ready = self._on_ready, None
            announce()

    def _save_soon(self) -> None:
        """Save the table in a thread: the disk must not delay a token. One save at a time; the newest wins."""
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._save())

    async def _save(self) -> None:
        table = self._core.table
        while table is not None and self._cache.differs(table):
            try:
                await asyncio.to_thread(self._cache.save, table)
            except OSError as error:  # serving goes on; the next table tries again
                log.warning("the routing table could not be saved: %s", error)
                return
            table = self._core.table

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _drain(self) -> None:
        core = self._core
        for connection in tuple(core.connections):
            connection.drain()
        log.info("draining: %d requests, %.0f s at most", len(core.exchanges), core.settings.drain_seconds)
        hurry = asyncio.create_task(self._hurry.wait())
        closed = asyncio.create_task(core.all_closed.wait())
        await asyncio.wait((hurry, closed), timeout=core.settings.drain_seconds, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not core.all_closed.is_set():
            log.warning("drain time is over: %d requests are ended", len(core.exchanges))
            for exchange in tuple(core.exchanges):
                exchange.drain_expired()
            await asyncio.wait((closed,), timeout=FLUSH_SECONDS)
        closed.cancel()


def _outcome(replica: ReplicaEntry, now: float, of_peers: int) -> ReplicaOutcome:
    return ReplicaOutcome(
        replica=replica.id,
        in_flight=replica.outstanding,
        of_peers=of_peers,
        consecutive_failures=replica.breaker.failures,
        ejected=replica.aside_until > now,
        last_success_at=replica.last_success_at,
        last_failure_at=replica.last_failure_at,
        last_failure=replica.last_failure,
    )
