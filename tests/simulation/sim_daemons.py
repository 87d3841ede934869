"""The daemons of the simulated cluster, put together from the services that the real ones are made of.

What stands in for the outside: the store in memory, the machine as runtime, probe and GPU inventory, the network. Left
out: gateways, logs and the console.
"""

import asyncio
import random
from collections.abc import Callable

from memory_store import MemoryStore
from placement_strategies import ENTRIES
from sim_machine import Machine, Probe
from sim_network import Link, Network
from sim_process import Process
from virtual_time import VirtualLoop

from modelgrid.decide.effects import Effect
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.engine import EngineLaunch, GpuBinding
from modelgrid.domain.errors import LaunchRefused
from modelgrid.domain.gpu import GpuInventory
from modelgrid.domain.ids import DeploymentId, NodeName
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.node import Node, NodeRole, NodeStatus
from modelgrid.domain.target import RuntimeKind
from modelgrid.domain.units import GIB
from modelgrid.services.actions import DeploymentActions
from modelgrid.services.catalog import CatalogService
from modelgrid.services.cluster.agent import Contact, NodeAgent, Surroundings
from modelgrid.services.cluster.control_plane import ControlPlane
from modelgrid.services.cluster.intake import Intake
from modelgrid.services.cluster.members import Members
from modelgrid.services.cluster.obedience import Obedience
from modelgrid.services.cluster.orders import OrderBook
from modelgrid.services.keepers import Keepers
from modelgrid.services.kept import KeeperTools
from modelgrid.services.live import LiveFacts
from modelgrid.services.node_status import NodeStatusService
from modelgrid.services.reconciler import Reconciler
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetService

HEARTBEAT_SECONDS = 5.0
VERSION = "0.1.0"
CONTROL = NodeName("control")


class Secrets:
    """`ports.Secrets` from the seed. Nothing here is secret."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def token(self, bits: int) -> str:
        return f"{self._rng.getrandbits(bits):x}"

    def integer(self, bits: int) -> int:
        return self._rng.getrandbits(bits)

    def seal(self, plaintext: str) -> str:
        return f"sealed:{plaintext}"

    def unseal(self, sealed: str) -> str:
        return sealed.removeprefix("sealed:")


class _Models:
    """A catalog source."""

    name = "simulated"

    async def load(self) -> tuple[CatalogEntry, ...]:
        return tuple(ENTRIES.values())

    async def refresh(self) -> tuple[CatalogEntry, ...]:
        return await self.load()


class _Silence:
    """`services.logs.store.LogStore` for engines that say nothing."""

    next_seq = 0

    def recent(self, source: str) -> tuple[()]:
        return ()

    async def recall(self, source: str) -> tuple[()]:
        return ()

    def forget(self, source: str) -> None: ...


class _Decides(Reconciler):
    """The reconciler, with somebody looking over its shoulder."""

    looks_at_plan: Callable[[tuple[Effect, ...]], None]
    looks_at_result: Callable[[tuple[Effect, ...]], None]

    async def once(self) -> tuple[Effect, ...]:
        async with self._targets.together:
            effects = self.plan(self._targets.all())
            self.looks_at_plan(effects)
            for effect in effects:
                await self._apply(effect)
        self.looks_at_result(effects)
        return effects


def _keepers(
    machine: Machine,
    process: Process,
    registry: DeploymentRegistry,
    live: LiveFacts,
    check_start: Callable[[DeploymentId], None] = lambda _: None,
    stop_grace: Callable[[DeploymentId], float | None] = lambda _: None,
) -> Keepers:
    def launch(deployment: Deployment) -> EngineLaunch:
        check_start(deployment.id)
        placement, present = deployment.placement, {gpu.id: gpu for gpu in machine.inventory().gpus}
        if placement is None or deployment.port is None or set(placement.gpus) - set(present):
            raise LaunchRefused("It cannot be started here.")
        gpus = [present[gpu] for gpu in placement.gpus]
        return EngineLaunch(
            deployment=deployment.id,
            attempt=deployment.attempt,
            argv=(),
            port=deployment.port,
            gpus=tuple(GpuBinding(id=g.id, vendor=g.vendor, index=g.index, uuid=g.uuid) for g in gpus),
            reserved_bytes=placement.decision.need.per_gpu_bytes,
        )

    return Keepers(
        KeeperTools(
            registry=registry,
            store=process.store,
            runtimes={RuntimeKind.SIMULATED: machine},
            logs=_Silence(),  # type: ignore[arg-type]
            live=live,
            probe=Probe(machine),  # type: ignore[arg-type]
            clock=machine.clock,
            allocate_port=machine.port,
            launch=launch,
            stop_grace=stop_grace,
            names=lambda deployment: (deployment.model, ()),
            node=NodeName(machine.name),
            in_flight=lambda _: 0,
        )
    )


async def _keep_until_killed(keepers: Keepers) -> None:
    """Keepers make tasks of their own: they have to end with the process."""
    keepers.start()
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        for _, task in list(keepers._running.values()):
            task.cancel()


class ControlServices:
    """What the control process is made of. Its node has no GPUs."""

    def __init__(self, process: Process, machine: Machine, rng: random.Random, epoch: int) -> None:
        store, secrets, clock, live = process.store, Secrets(rng), machine.clock, LiveFacts()
        self.registry = DeploymentRegistry(store)
        self.catalog = CatalogService([_Models()], clock)
        self.targets = TargetService(store, self.catalog, clock, secrets, check_mounts=lambda _: None, local=CONTROL)
        self.node_status = NodeStatusService(store, clock)
        self.members = Members(store, clock, secrets, local=CONTROL, fingerprint="", version=VERSION)
        self.orders = OrderBook(
            registry=self.registry,
            targets=self.targets,
            catalog=self.catalog,
            status_of=self.node_status.of,
            epoch=epoch,
            heartbeat_seconds=HEARTBEAT_SECONDS,
        )
        local = Node(
            name=CONTROL, role=NodeRole.CONTROL_PLANE, inventory=GpuInventory(taken_at=0.0), memory_total_bytes=0
        )
        self.control = ControlPlane(
            members=self.members,
            orders=self.orders,
            intake=Intake(store, self.registry, self.targets, live, clock),
            registry=self.registry,
            store=store,
            clock=clock,
            local=lambda: local,
            status_of=self.node_status.of,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            version=VERSION,
        )
        self.reconciler = _Decides(
            registry=self.registry,
            targets=self.targets,
            catalog=self.catalog,
            nodes=self.control.nodes,
            default_runtime=RuntimeKind.SIMULATED,
            clock=clock,
            secrets=secrets,
        )
        self.actions = DeploymentActions(self.registry, self.targets, clock)
        self.keepers = _keepers(machine, process, self.registry, live)

    async def start(self, process: Process) -> None:
        await self.catalog.load()
        await self.registry.load()
        await self.targets.load()
        await self.node_status.load()
        await self.members.load()
        self.control.load()
        self.orders.start()
        wake = self.reconciler.wake
        self.registry.on_change(lambda _: wake())
        self.node_status.changed.listen(self.orders.all_changed)
        for notifier in (self.targets.changed, self.node_status.changed, self.control.changed):
            notifier.listen(wake)
        process.spawn(self.reconciler.run())
        process.spawn(self.control.run())
        process.spawn(_keep_until_killed(self.keepers))


class WorkerServices:
    """What the control process of a worker is made of."""

    def __init__(
        self, process: Process, machine: Machine, network: Network, control: object, rng: random.Random, epoch: int
    ) -> None:
        store, clock = process.store, machine.clock
        self.registry = DeploymentRegistry(store)
        self._catalog = CatalogService([], clock)
        targets = TargetService(
            store, self._catalog, clock, Secrets(rng), check_mounts=lambda _: None, local=NodeName(machine.name)
        )
        live = LiveFacts()
        self.status = NodeStatus.ACTIVE

        async def take_status(status: NodeStatus) -> None:
            self.status = status

        def take_credential(_: str) -> None: ...

        self.obedience = Obedience(self.registry, targets, clock, store)
        self.agent = NodeAgent(
            link=Link(network, process, control),
            contact=Contact(control_plane=CONTROL, url="https://control:8082"),
            obedience=self.obedience,
            registry=self.registry,
            targets=targets,
            store=store,
            live=live,
            clock=clock,
            around=Surroundings(
                node=lambda: Node(
                    name=NodeName(machine.name),
                    role=NodeRole.WORKER,
                    inventory=machine.inventory(),
                    memory_total_bytes=64 * GIB,
                    memory_available_bytes=60 * GIB,
                    runtimes=(RuntimeKind.SIMULATED.value,),
                ),
                gateways=tuple,
                wanted_models=dict,
                key_last_used=dict,
            ),
            epoch=epoch,
            version=VERSION,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            take_routing=lambda _: None,
            take_credential=take_credential,
            take_status=take_status,
        )
        agent = self.agent
        self.keepers = _keepers(machine, process, self.registry, live, agent.check_start, agent.stop_grace_seconds)

    async def start(self, process: Process) -> None:
        await self.registry.load()
        await self.obedience.load()
        await self.agent.load()
        self.agent.start()
        process.spawn(_keep_until_killed(self.keepers))
        process.spawn(self.keepers.sweep_regularly())
        for loop in self.agent.loops():
            process.spawn(loop)


class Daemon:
    """A machine's daemon, over all its lives."""

    def __init__(self, name: str, loop: VirtualLoop, rng: random.Random) -> None:
        self.name = name
        self.store = MemoryStore()
        self.process: Process | None = None
        self.serves = False
        self.machine_up = True
        self.services: ControlServices | WorkerServices | None = None
        self.lives = 0
        self._loop = loop
        self._rng = rng

    async def start(self, make: Callable[[Process, int], ControlServices | WorkerServices]) -> None:
        self.lives += 1
        process = self.process = Process(self.name, self.store, self._rng)
        services = make(process, self.lives)
        await services.start(process)
        if not process.dead:
            self.services, self.serves = services, True

    def kill(self) -> None:
        self.serves = False
        if self.process is not None:
            self.process.kill()
        self.process = self.services = None
