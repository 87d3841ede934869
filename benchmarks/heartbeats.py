"""Heartbeats of a large cluster, sent for real: a control plane as a daemon of its own, and nodes that speak TLS to it.

Each node keeps three connections, as a worker does: for its reports, for its orders and for the routing, the last two
held by the control plane until it has news. What is simulated are the machines behind them.
"""

import asyncio
import gzip
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from benchmarks.bench_scale import NOW, World
from benchmarks.fleet import LOCAL, Daemon, Ports, ports, write_config
from modelgrid import __version__
from modelgrid.adapters.control_plane_http.pinning import pinned_to
from modelgrid.adapters.node_certificate import FOLDER, ensure_certificate
from modelgrid.adapters.store_sql import open_store
from modelgrid.decide.assignment import told
from modelgrid.domain.cluster import Member, Orders, Report, SharedRouting
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.join_format import digest_of
from modelgrid.domain.node import Node, NodeRole

HEARTBEAT_SECONDS = 5.0
LONGEST_HOLD_SECONDS = 60.0
SETTLE_SECONDS = 180.0
PER_NODE_SECONDS = 0.02
"""Between the first words of two nodes: all of them share a core or two with the control plane."""
MOST_AT_ONCE = 2**22


def credential(name: str) -> str:
    """Return what a node shows; good for this state directory only."""
    return f"mgn-benchmark-{name}"


async def prepare(folder: Path, ports: Ports, world: World) -> None:
    """Write the state of a control plane whose nodes run what `world` says."""
    state = folder / "state"
    pem = (await asyncio.to_thread(ensure_certificate, state / FOLDER, LOCAL)).pem
    write_config(folder, ports)
    store = await open_store(f"sqlite:///{state / 'state.db'}")
    now = time.time()
    try:
        members = [
            Member(
                name=node.name,
                joined_at=now,
                peer_url="https://127.0.0.1:1",
                cluster_url="https://127.0.0.1:2",
                certificate=pem,
                digest=digest_of(credential(node.name)),
                rotated_at=now,
            )
            for node in world.nodes
        ]
        await store.put_members(members)
        for target in world.targets:
            await store.put_target(target)
        for row in world.deployments:
            await store.save_deployment(row)
    finally:
        await store.close()


@asynccontextmanager
async def cluster(count: int) -> AsyncIterator[tuple[Daemon, "Nodes"]]:
    """Start a control plane and `count` nodes that speak to it; end both afterwards.

    It begins when nothing new is said to any node any more. What a node failed of is raised at the end."""
    with tempfile.TemporaryDirectory() as name:
        folder, where, world = Path(name), ports(), World(count)
        await prepare(folder, where, world)
        daemon = Daemon(folder, where)
        await daemon.start()
        nodes = Nodes(daemon, folder, world)
        try:
            nodes.start()
            await nodes.settle()
            yield daemon, nodes
            nodes.check()
        finally:
            await nodes.stop()
            daemon.stop()


class Line:
    """One kept connection. What it does with HTTP is the least that a client has to."""

    def __init__(self, port: int, context: ssl.SSLContext, name: str) -> None:
        self._port, self._context = port, context
        self._head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {credential(name)}\r\nAccept-Encoding: gzip\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Return the body of a good answer; raises `AssertionError` for any other."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                "127.0.0.1", self._port, ssl=self._context, limit=MOST_AT_ONCE
            )
        reader, writer = self._streams
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        writer.write(f"{method} /v1/_cluster{path} HTTP/1.1\r\n{self._head}{length}\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = head.partition("content-length: ")[2].partition("\r\n")[0]
        answer = await reader.readexactly(int(size)) if size else b""
        if not head.startswith(("http/1.1 200", "http/1.1 204")):
            raise AssertionError(f"{method} {path}: {head.splitlines()[0]} {answer[:300]!r}")
        return gzip.decompress(answer) if "content-encoding: gzip" in head else answer

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


class Nodes:
    """All nodes of a cluster, in this process."""

    def __init__(self, daemon: Daemon, folder: Path, world: World) -> None:
        pem = ensure_certificate(folder / "state" / FOLDER, LOCAL).pem
        self._context, self._port = pinned_to(pem), daemon.ports.cluster
        self._tasks: list[asyncio.Task[None]] = []
        self._world = world
        self.times: list[float] = []
        """Seconds from each report to its answer."""
        self.sent = self.received = 0
        self._routing = (b"", SharedRouting(epoch=0, generation=0))
        self.routed: dict[int, list[float]] = {}
        """By generation of the routing the monotonic times at which nodes heard it."""
        self._known: set[str] = {row.id for row in world.deployments}
        self._ordered: dict[str, asyncio.Future[float]] = {}
        self._told_at = 0.0
        """When a held question was answered with news."""

    @property
    def deployments(self) -> int:
        return len(self._world.deployments)

    def start(self) -> None:
        rows: dict[str, list[Deployment]] = {}
        for row in self._world.deployments:
            if row.placement is not None:
                rows.setdefault(row.placement.node, []).append(row)
        for number, node in enumerate(self._world.nodes):
            delay = max(PER_NODE_SECONDS, HEARTBEAT_SECONDS / len(self._world.nodes)) * number
            work = (self._beat(node, rows.get(node.name, []), delay), self._hold(node, delay, "orders"))
            self._tasks += [asyncio.create_task(item) for item in (*work, self._hold(node, delay, "routing"))]

    async def settle(self) -> None:
        """Wait until all nodes have been heard, and nothing new was said to any of them for two heartbeats."""
        give_up = time.monotonic() + SETTLE_SECONDS
        while True:
            await asyncio.sleep(0.5)
            self.check()
            quiet = time.monotonic() - self._told_at
            if len(self.times) > 2 * len(self._world.nodes) and quiet > 2 * HEARTBEAT_SECONDS:
                return
            if time.monotonic() > give_up:
                raise AssertionError(f"after {SETTLE_SECONDS} s the nodes are still told something new")

    def ordered(self, target: str) -> asyncio.Future[float]:
        """Return what will be the monotonic time at which a node hears of a further deployment of a target."""
        return self._ordered.setdefault(target, asyncio.get_running_loop().create_future())

    def _hear(self, orders: Orders) -> None:
        for order in orders.orders:
            if order.id not in self._known:
                self._known.add(order.id)
                if (waiting := self._ordered.pop(order.target, None)) is not None:
                    waiting.set_result(time.monotonic())

    def check(self) -> None:
        """Raise what a node failed of."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _beat(self, node: Node, rows: Sequence[Deployment], delay: float) -> None:
        line = Line(self._port, self._context, node.name)
        epoch, sequence, orders = time.time_ns(), 0, None
        node = replace(node, role=NodeRole.WORKER, version=__version__, default_runtime="docker")
        await asyncio.sleep(delay)
        try:
            while True:
                began, sequence, now = time.monotonic(), sequence + 1, time.time()
                gpus = tuple(
                    replace(gpu, utilization_percent=(now * 7 + gpu.index * 13) % 100, temperature_celsius=50 + now % 9)
                    for gpu in node.inventory.gpus
                )
                report = Report(
                    node=replace(node, inventory=replace(node.inventory, taken_at=NOW + sequence, gpus=gpus)),
                    version=__version__,
                    epoch=epoch,
                    sequence=sequence,
                    at=now,
                    to=orders.epoch if orders else 0,
                    obeyed=(orders.epoch, orders.sequence) if orders else (0, 0),
                    may_omit=True,
                    deployments=tuple(told(row) for row in rows),
                )
                body = msgspec.json.encode(report)
                answer = await line.call("POST", "/heartbeat", body)
                self.times.append(time.monotonic() - began)
                self.sent += len(body)
                self.received += len(answer)
                said = msgspec.json.decode(answer, type=Orders)
                known, orders = orders, said
                if known is None or known.epoch != said.epoch:
                    continue  # it wants to hear it as said to itself
                await asyncio.sleep(max(0.0, HEARTBEAT_SECONDS - (time.monotonic() - began)))
        finally:
            line.close()

    async def _hold(self, node: Node, delay: float, what: str) -> None:
        line = Line(self._port, self._context, node.name)
        query = "/orders?epoch=0&sequence=0" if what == "orders" else "/routing?epoch=0&generation=0&changes=1"
        await asyncio.sleep(delay)
        try:
            while True:
                answer = await asyncio.wait_for(line.call("GET", query), LONGEST_HOLD_SECONDS)
                if not answer:
                    continue
                self._told_at = time.monotonic()
                if what == "orders":
                    orders = msgspec.json.decode(answer, type=Orders)
                    self._hear(orders)
                    query = f"/orders?epoch={orders.epoch}&sequence={orders.sequence}"
                else:  # all get the same
                    if answer != self._routing[0]:
                        self._routing = (answer, msgspec.json.decode(answer, type=SharedRouting))
                    routing = self._routing[1]
                    self.routed.setdefault(routing.generation, []).append(self._told_at)
                    query = f"/routing?epoch={routing.epoch}&generation={routing.generation}&changes=1"
        finally:
            line.close()
