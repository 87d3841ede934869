"""A control plane of a whole fleet, for measuring its console API: a real daemon over a prepared state directory, and
the workers' heartbeats, which come from here.

What is simulated are the machines: their GPUs, and the engines that they report. The daemon, its store, its ports and
every message are the real ones.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import free_port
from modelgrid import __version__
from modelgrid.adapters.catalog_packaged import PackagedCatalogSource
from modelgrid.adapters.clock_system import SystemClock
from modelgrid.adapters.control_plane_http import HttpControlPlane
from modelgrid.adapters.node_certificate import FOLDER, ensure_certificate
from modelgrid.adapters.store_sql import open_store
from modelgrid.client.http import ModelGridClient, local_client
from modelgrid.decide.assignment import told
from modelgrid.decide.effects import CreateDeployment
from modelgrid.decide.liveness import answer_seconds
from modelgrid.decide.reconcile import reconcile
from modelgrid.domain.cluster import Member, Report
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.engine import EngineRef
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.gpu import Gpu, GpuInventory, GpuVendor
from modelgrid.domain.ids import GpuId, NodeName, deployment_id
from modelgrid.domain.join_format import digest_of
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.node import Node, NodeRole
from modelgrid.domain.placement import Placement
from modelgrid.domain.target import Constraints, Origin, RuntimeKind, Target
from modelgrid.domain.units import GIB

MODELGRID = Path(sys.executable).parent / "modelgrid"
QUICK_ENGINES = "--sim-load-seconds 0.1 --sim-ttft 0.01 --sim-itl 0.005"
NODES, GPUS, DEPLOYMENTS = 20, 8, 200
RACKS = 4
"""Each target asks for one of so many labels, which spreads them over all nodes."""
RESTLESS = 10
"""Deployments that begin anew all the time, each on a node of its own: as many changes a second, evenly spread, each
stored and published on its own."""
HEARTBEAT_SECONDS = 5.0
RESTLESS_HEARTBEAT_SECONDS = 1.0
"""What changes on a node is told at once; here that is once a second."""
LOCAL = NodeName("node-00")
SERVED = "Qwen/Qwen2.5-0.5B-Instruct"
"""Deployed on the control plane itself, so that its gateway has something to pass on."""
START_SECONDS = 60.0
CARD_BYTES = 80 * GIB


def worker(number: int, *, at: float) -> Node:
    """Return what a worker says of itself; its readings move a little from one time to the next."""
    gpus = tuple(
        Gpu(
            id=GpuId(f"nvidia-{index}"),
            vendor=GpuVendor.NVIDIA,
            index=index,
            uuid=f"GPU-{number:04d}-{index:04d}",
            name="NVIDIA H100 80GB HBM3",
            vram_total_bytes=CARD_BYTES,
            vram_used_bytes=0,
            vram_free_bytes=CARD_BYTES,
            utilization_percent=float(int(at * 7 + index * 13 + number) % 100),
            temperature_celsius=50.0 + int(at) % 10,
            power_watts=300.0 + int(at * 3) % 100,
            power_limit_watts=700.0,
            simulated=True,
        )
        for index in range(GPUS)
    )
    return Node(
        name=NodeName(f"node-{number:02d}"),
        role=NodeRole.WORKER,
        inventory=GpuInventory(taken_at=at, gpus=gpus),
        memory_total_bytes=512 * GIB,
        memory_available_bytes=400 * GIB,
        labels={"rack": str(number % RACKS)},
        runtimes=("simulated",),
        default_runtime="simulated",
        version=__version__,
    )


async def entries() -> list[CatalogEntry]:
    """Return models of the packaged catalog of which several fit on one card."""
    found = await PackagedCatalogSource().load()
    small = [entry for entry in found if entry.parameters and entry.parameters < 10e9 and entry.id != SERVED]
    if not small:
        raise AssertionError("the packaged catalog has no small model")
    return small


def desired(models: Sequence[CatalogEntry], count: int, at: float) -> list[Target]:
    """Return targets of `count` replicas in all, on workers only: they alone have the labels."""
    each, more = divmod(count, len(models))
    return [
        Target(
            name=entry.id,
            model=entry.id,
            replicas=each + (number < more),
            origin=Origin.API,
            constraints=Constraints(labels={"rack": str(number % RACKS)}),
            created_at=at,
            updated_at=at,
            updated_by="benchmark",
        )
        for number, entry in enumerate(models)
        if each + (number < more)
    ]


def landed(targets: Sequence[Target], models: Sequence[CatalogEntry], at: float) -> list[Deployment]:
    """Return what the product's own decision makes of the targets, with every verdict it gives."""
    workers = [worker(number, at=at) for number in range(1, NODES)]
    known = {str(entry.id): entry for entry in models}
    rows: list[Deployment] = []
    for effect in reconcile(targets, (), workers, known, RuntimeKind.SIMULATED, at):
        if not isinstance(effect, CreateDeployment) or effect.decision.node is None:
            raise AssertionError(f"the fleet has no room for what it is to run: {effect}")
        number, decision = len(rows), effect.decision
        name = deployment_id(effect.target, number * 7919)
        ref = EngineRef(runtime=RuntimeKind.SIMULATED, id=name, deployment=name, attempt=1, url="http://127.0.0.1:1")
        rows.append(
            Deployment(
                id=name,
                target=effect.target,
                model=effect.model,
                origin=effect.origin,
                spec=effect.spec,
                runtime=RuntimeKind.SIMULATED,
                created_at=at + number / 1000,
                placement=Placement(node=effect.decision.node, gpus=decision.gpus, decision=decision, placed_at=at),
                placements=1,
                attempt=1,
                engine=ref,
                port=20_000 + number,
                pulled_at=at,
                started_at=at,
                ready_at=at + 1,
            )
        )
    return _some_restless(rows)


def _some_restless(rows: list[Deployment]) -> list[Deployment]:
    nodes: set[str] = set()
    made = []
    for row in rows:
        assert row.placement is not None
        if len(nodes) < RESTLESS and row.placement.node not in nodes:
            nodes.add(row.placement.node)
            row = replace(row, ready_at=None)  # noqa: PLW2901
        made.append(row)
    return made


@dataclass(frozen=True, slots=True)
class Ports:
    api: int
    console: int
    cluster: int
    peer: int


def write_config(folder: Path, ports: Ports) -> None:
    """Write the configuration of a control plane with simulated GPUs."""
    config: dict[str, Any] = {
        "nodeName": LOCAL,
        "api": {"port": ports.api, "uiPort": ports.console},
        "cluster": {"role": "control-plane", "port": ports.cluster, "peerPort": ports.peer},
        "docker": {"runtime": "simulated"},
        "gpus": {"simulate": GPUS},
        "models": {"registryUrl": None},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))


async def prepare(folder: Path, ports: Ports, deployments: int = DEPLOYMENTS) -> list[Deployment]:
    """Write the configuration and the state of a fleet; return the deployments that its workers report."""
    state = folder / "state"
    certificate = await asyncio.to_thread(ensure_certificate, state / FOLDER, LOCAL)
    write_config(folder, ports)
    at = time.time()
    models = await entries()
    targets = desired(models, deployments - 1, at)
    rows = landed(targets, models, at)
    store = await open_store(f"sqlite:///{state / 'state.db'}")
    try:
        pem = certificate.pem
        await store.put_members(
            [
                Member(
                    name=NodeName(f"node-{number:02d}"),
                    joined_at=at,
                    peer_url=f"https://127.0.0.1:{30_000 + number}",
                    cluster_url=f"https://127.0.0.1:{31_000 + number}",
                    certificate=pem,
                    digest=digest_of(credential(number)),
                    rotated_at=at,
                )
                for number in range(1, NODES)
            ]
        )
        for target in targets:
            await store.put_target(target)
        for row in rows:
            await store.save_deployment(row)
    finally:
        await store.close()
    return rows


def credential(number: int) -> str:
    """Return what a worker shows; good for this state directory only."""
    return f"mgn-benchmark-{number:02d}"


class Daemon:
    """`modelgrid up` over a prepared folder. `stop` ends it, with the engines that it leaves behind."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        self._folder = folder
        self.ports = ports
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        command = [str(MODELGRID), "up", "--config", str(self._folder / "config.json")]
        command += ["--state-dir", str(self._folder / "state")]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220  nothing else happens yet
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"MODELGRID_SIMULATOR_ARGS": QUICK_ENGINES},
            )
        endpoint, deadline = self._folder / "state" / "run" / "endpoint.json", time.monotonic() + START_SECONDS
        while not endpoint.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the daemon did not start: {self.log()[-2000:]}")
            await asyncio.sleep(0.05)

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    @property
    def control(self) -> int:
        """The pid of the control process."""
        assert self._process is not None
        for child in psutil.Process(self._process.pid).children():
            if "modelgrid.control" in child.cmdline():
                return child.pid
        raise RuntimeError(f"there is no control process: {self.log()[-2000:]}")

    @property
    def token(self) -> str:
        return (self._folder / "state" / "token").read_text().strip()

    @property
    def password(self) -> str:
        """The first user's one-time password."""
        return (self._folder / "state" / "initial-password").read_text().strip()

    @property
    def state(self) -> Path:
        """The state directory."""
        return self._folder / "state"

    def client(self) -> ModelGridClient:
        return local_client(self._folder / "state")

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)
        for path in (self._folder / "state" / "simulated" / "engines").glob("*.json"):
            watcher = json.loads(path.read_text()).get("watcher_pid")
            if watcher and psutil.pid_exists(watcher):
                os.kill(watcher, signal.SIGUSR1)


class Workers:
    """The other nodes: each sends its reports in its own time until `stop`."""

    def __init__(self, daemon: Daemon, folder: Path, rows: Sequence[Deployment]) -> None:
        self._url = f"https://127.0.0.1:{daemon.ports.cluster}"
        self._certificate = ensure_certificate(folder / "state" / FOLDER, LOCAL).pem
        self._rows = rows
        self._tasks: list[asyncio.Task[None]] = []
        self.reports = 0
        self.refused = ""
        """Why a report was not taken, the last time that one was not."""

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._one(number)) for number in range(1, NODES)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _one(self, number: int) -> None:
        rows = [row for row in self._rows if row.placement and row.placement.node == f"node-{number:02d}"]
        restless = any(row.ready_at is None for row in rows)
        link = HttpControlPlane(self._url, self._certificate, credential(number))
        epoch, sequence, obeyed = time.time_ns(), 0, (0, 0)
        clock = SystemClock()
        await asyncio.sleep(number / NODES)
        try:
            while True:
                sequence += 1
                now = clock.now()
                report = Report(
                    node=worker(number, at=now),
                    version=__version__,
                    epoch=epoch,
                    sequence=sequence,
                    at=now,
                    to=obeyed[0],
                    obeyed=obeyed,
                    deployments=tuple(told(row if row.ready_at else replace(row, attempt=sequence)) for row in rows),
                )
                try:
                    orders = await link.heartbeat(report, answer_seconds(HEARTBEAT_SECONDS))
                    obeyed, self.reports = (orders.epoch, orders.sequence), self.reports + 1
                except ModelGridError as error:
                    self.refused = f"node-{number:02d}: {error}"
                await asyncio.sleep(RESTLESS_HEARTBEAT_SECONDS if restless else HEARTBEAT_SECONDS)
        finally:
            await link.close()


def ports() -> Ports:
    return Ports(free_port(), free_port(), free_port(), free_port())
