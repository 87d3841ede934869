"""A whole cluster in one process under virtual time: what goes wrong, what people do, and what must always hold.

`run(seed)` plays ten minutes: seven in which machines, daemons, engines and the network fail and people change their
minds, then three in which all is well and the cluster has to come to rest. It raises `Broken` with the time and the
reason, and the same seed does the same again, to the byte.
"""

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from sim_checks import Broken, check_engines, orphans, what_moves
from sim_daemons import CONTROL, HEARTBEAT_SECONDS, ControlServices, Daemon, WorkerServices
from sim_machine import Machine
from sim_network import Network
from sim_process import Process
from virtual_time import VirtualLoop

from modelgrid.decide.effects import CreateDeployment, Effect, PlaceDeployment
from modelgrid.decide.replicas import SURGE
from modelgrid.domain.cluster import Member
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.errors import Conflict, ModelGridError, NotFound
from modelgrid.domain.ids import NodeName
from modelgrid.domain.node import NodeLiveness, NodeStatus
from modelgrid.domain.target import Constraints, EngineSpec
from modelgrid.services.targets import TargetRequest

FAULTS_END = 420.0
ENDS = 600.0
STEP_SECONDS = 0.5
REST_WITHIN = 2 * HEARTBEAT_SECONDS
"""Seconds after the last fault in which no engine loads or ends, and it is not at rest yet all the same."""
ORPHAN_WITHIN = 2 * HEARTBEAT_SECONDS
"""Seconds after which a daemon has ended an engine that no deployment of it stands behind."""
MODELS = ("org/tiny", "org/middle", "org/embed", "org/latent")
ONCE = "org/latent"
"""Its target is exclusive, with one replica."""
OUT_OF_REACH_SECONDS = 5 * HEARTBEAT_SECONDS
"""A daemon that is away longer, while its engines run on, cannot keep the promise of exclusive targets."""


@dataclass
class Figures:
    """What a run went through."""

    seen: Counter[str] = field(default_factory=Counter)
    rest_after: float = 0.0
    idle_before_rest: float = 0.0
    """Seconds of these in which nobody waited for an engine."""


class Cluster:
    def __init__(self, seed: int) -> None:
        self.loop = VirtualLoop()
        self.rng = random.Random(seed)
        self.trace: list[str] = []
        self.figures = Figures()
        self.network = Network(self.rng)
        self._control_machine = Machine(CONTROL, 0, 0, self.loop, self.rng, self._engines_changed)
        self.control = Daemon(CONTROL, self.loop, self.rng)
        names = [f"worker-{letter}" for letter in "abcd"[: self.rng.randint(3, 4)]]
        sizes = [(self.rng.choice((1, 2, 2)), self.rng.choice((24, 48, 80))) for _ in names]
        self.machines = {
            name: Machine(name, gpus, gib, self.loop, self.rng, self._engines_changed)
            for name, (gpus, gib) in zip(names, sizes, strict=True)
        }
        self.workers = {name: Daemon(name, self.loop, self.rng) for name in names}
        self._changed = False
        self._away_since: dict[str, float] = {}
        self._unfenced: set[str] = set()
        """Nodes whose daemon was away too long to end exclusive engines in time."""
        self._orphans: dict[tuple[str, str], float] = {}
        """Engines without a deployment, and since when."""
        self._broken: Broken | None = None
        self.loop.after_each = self._after_each

    # --- running

    def run(self) -> Figures:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._play())
        finally:
            while tasks := asyncio.all_tasks(self.loop):
                for task in tasks:
                    task.cancel()
                self.loop.run_until_complete(asyncio.wait(tasks))
            asyncio.set_event_loop(None)
            self.loop.close()
        return self.figures

    async def _play(self) -> None:
        for name in self.workers:
            member = Member(
                name=NodeName(name),
                joined_at=0.0,
                peer_url="https://192.0.2.1:8083",
                cluster_url="",
                certificate="",
                digest=name,
                rotated_at=self._control_machine.clock.now(),
            )
            await self.control.store.put_members([member])
        await self._start_control()
        for name in self.workers:
            await self._start_worker(name)
        helpers = [
            self.loop.create_task(work)
            for work in (self._people(), self._network_fails(), self._daemons_fail(), self._engines_fail())
        ]
        await self._until(FAULTS_END, helpers)
        await self._all_is_well(helpers)
        while not self._at_rest():
            if not any(machine.works for machine in self.machines.values()):
                self.figures.idle_before_rest += STEP_SECONDS
            if self.figures.idle_before_rest > REST_WITHIN or self.loop.time() > ENDS:
                raise Broken(f"not at rest after {self.loop.time() - FAULTS_END:g} s without a fault: {self._why}")
            await self._until(self.loop.time() + STEP_SECONDS, [])
        self.figures.rest_after = self.loop.time() - FAULTS_END
        self.say("at rest")
        before = self._all_rows()
        await self._until(ENDS, [])
        if not self._at_rest():
            raise Broken(f"it did not stay at rest: {self._why}")
        if {row.id for row in before} != {row.id for row in self._all_rows()}:
            raise Broken("at rest, and yet deployments came or went")

    async def _until(self, when: float, helpers: list[asyncio.Task[None]]) -> None:
        while self.loop.time() < when:
            await asyncio.sleep(min(STEP_SECONDS, when - self.loop.time()))
            self._check_orphans()
            if self._broken is not None:
                raise self._broken
            daemons = (self.control, *self.workers.values())
            failed = [error for daemon in daemons if daemon.process for error in daemon.process.failures()]
            failed += [
                error for task in helpers if task.done() and not task.cancelled() and (error := task.exception())
            ]
            unexpected = [error for error in failed if not isinstance(error, ModelGridError)]
            if unexpected:
                raise Broken("a service ended") from unexpected[0]

    def say(self, text: str) -> None:
        self.trace.append(f"{self.loop.time():9.3f} {text}")

    # --- daemons

    async def _start_control(self) -> None:
        def made(process: Process, life: int) -> ControlServices:
            services = ControlServices(process, self._control_machine, self.rng, epoch=life)
            services.reconciler.looks_at_plan = self._check_plan
            services.reconciler.looks_at_result = self._check_result
            return services

        self.say("control starts")
        await self.control.start(made)

    async def _start_worker(self, name: str) -> None:
        machine = self.machines[name]
        if not machine.up:
            machine.up = True
        self.say(f"{name} starts")
        away = self.loop.time() - self._away_since.pop(name, self.loop.time())
        if away > OUT_OF_REACH_SECONDS / 2 and machine.engines:
            self._unfenced.add(name)
        await self.workers[name].start(
            lambda process, life: WorkerServices(process, machine, self.network, self.control, self.rng, epoch=life)
        )

    def _kill_worker(self, name: str) -> None:
        self._away_since[name] = self.loop.time()
        self.workers[name].kill()

    @property
    def services(self) -> ControlServices | None:
        services = self.control.services
        return services if isinstance(services, ControlServices) else None

    # --- what goes wrong

    async def _network_fails(self) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / 40))
            name, seconds = self.rng.choice(sorted(self.workers)), self.rng.choice((3, 12, 20, 35, 50, 90))
            ways = self.rng.choice(("both", "both", "to control", "from control"))
            cut = {(name, CONTROL)} if ways != "from control" else set()
            cut |= {(CONTROL, name)} if ways != "to control" else set()
            self.say(f"{name} is cut off for {seconds} s, {ways}")
            self.figures.seen["cut"] += 1
            self.network.cut |= cut
            self.loop.call_later(seconds, self._heal, cut)

    def _heal(self, cut: set[tuple[str, str]]) -> None:
        self.network.cut -= cut
        self.say(f"network heals: {sorted(cut)}")

    async def _daemons_fail(self) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / 45))
            kind = self.rng.choice(("control", "control", "daemon", "daemon", "daemon long", "power", "clock"))
            self.figures.seen[kind] += 1
            name = self.rng.choice(sorted(self.workers))
            if kind == "control":
                await self._control_fails()
            elif self.workers[name].process is None:
                continue
            elif kind == "clock":
                self.machines[name].clock.offset = self.rng.choice((-3600.0, 3600.0))
                self.say(f"the clock of {name} is set by {self.machines[name].clock.offset:g} s")
                await asyncio.sleep(self.rng.uniform(1, 20))
                self.machines[name].clock.offset = 0.0
            else:
                self.say(f"{name} fails: {kind}")
                self._kill_worker(name)
                if kind == "power":
                    self.machines[name].power_off()
                seconds = self.rng.uniform(0.1, 5) if kind == "daemon" else self.rng.uniform(5, 70)
                self.loop.call_later(seconds, self._again, name)

    async def _control_fails(self) -> None:
        seconds = self.rng.choice((0.1, 2.0, 15.0, 45.0))
        self.say(f"control is killed, for {seconds:g} s")
        self.control.kill()
        await asyncio.sleep(seconds)
        await self._start_control()

    def _again(self, name: str) -> None:
        if self.workers[name].process is None:
            self.loop.create_task(self._start_worker(name))

    async def _engines_fail(self) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / 50))
            self.machines[self.rng.choice(sorted(self.machines))].an_engine_dies()

    async def _all_is_well(self, helpers: list[asyncio.Task[None]]) -> None:
        for task in helpers:
            task.cancel()
        self.say("all is well from now on")
        self.network.cut.clear()
        self.network.lossy = False
        for machine in self.machines.values():
            machine.calm, machine.clock.offset = True, 0.0
        if not self.control.serves:
            self.control.kill()
            await self._start_control()
        for name in self.workers:
            if not self.workers[name].serves:
                self.workers[name].kill()
                await self._start_worker(name)
        services = self.services
        assert services is not None
        for name in self.workers:
            await services.node_status.set(name, NodeStatus.ACTIVE, by="people")
        for row in services.registry.all():
            if row.failures and row.intent is Intent.RUN:
                with suppress(Conflict, NotFound):  # it left meanwhile
                    await services.actions.restart(row.id, by="people")

    # --- what people do

    async def _people(self) -> None:
        while True:
            services = self.services
            if services is not None:
                try:
                    await self._somebody_acts(services)
                except ModelGridError as error:
                    self.say(f"people are refused: {error.message}")
            await asyncio.sleep(self.rng.expovariate(1 / 15))

    async def _somebody_acts(self, services: ControlServices) -> None:
        what = self.rng.choice(("want", "want", "scale", "scale", "status", "status", "drain", "deployment", "clear"))
        if len(services.targets.all()) < 2:
            what = "want"
        self.figures.seen[what] += 1
        model, name = self.rng.choice(MODELS), self.rng.choice(sorted(self.workers))
        if what == "want":
            constraints = Constraints(
                exclusive=model == ONCE,
                pack=self.rng.random() < 0.3,
                node=NodeName(name) if self.rng.random() < 0.1 else None,
            )
            replicas = 1 if model == ONCE else self.rng.randint(1, 3)
            spec = EngineSpec(context=self.rng.choice((1024, 4096)), concurrency=1)
            self.say(f"people want {replicas} x {model}, context {spec.context}, {constraints}")
            request = TargetRequest(model=model, replicas=replicas, spec=spec, constraints=constraints)
            await services.targets.ensure(request, by="people")
        elif what == "scale" and model != ONCE:
            replicas = self.rng.randint(0, 4)
            self.say(f"people scale {model} to {replicas}")
            await services.targets.scale(model, replicas, by="people")
        elif what == "clear":
            self.say(f"people clear {model}")
            await services.targets.remove(model, by="people")
        elif what in ("status", "drain"):
            statuses = (NodeStatus.ACTIVE, NodeStatus.ACTIVE, NodeStatus.CORDONED, NodeStatus.DRAINING)
            status = NodeStatus.DRAINING if what == "drain" else self.rng.choice(statuses)
            self.say(f"people set {name} to {status}")
            await services.node_status.set(name, status, by="people")
        elif what == "deployment" and (rows := services.registry.all()):
            row = self.rng.choice(sorted(rows, key=lambda item: item.id))
            act = self.rng.choice(("start", "stop", "restart"))
            self.say(f"people {act} {row.id}")
            await getattr(services.actions, act)(row.id, by="people")

    # --- what must always hold

    def _engines_changed(self, text: str) -> None:
        self.say(text)
        self._changed = True

    def _after_each(self) -> None:
        if self._changed and self._broken is None:
            self._changed = False
            try:
                check_engines(self.machines, {*self._unfenced, *self._away_since})
            except Broken as broken:
                self._broken = broken

    def _check_orphans(self) -> None:
        now = self.loop.time()
        self._orphans = {one: self._orphans.get(one, now) for one in orphans(self.workers, self.machines)}
        for (machine, engine), since in self._orphans.items():
            if now - since > ORPHAN_WITHIN and self._broken is None:
                self._broken = Broken(f"an orphan for {now - since:g} s: {engine} on {machine}")

    def _check_plan(self, effects: tuple[Effect, ...]) -> None:
        services = self.services
        if services is None:
            return
        nodes = {node.name: node for node in services.control.nodes()}
        for effect in effects:
            if isinstance(effect, CreateDeployment | PlaceDeployment) and effect.decision.node is not None:
                node = nodes[effect.decision.node]
                if node.status is not NodeStatus.ACTIVE or node.liveness is not NodeLiveness.READY or node.problem:
                    self._broken = Broken(f"placed on {node.name}: {node.status}, {node.liveness}, {node.problem}")

    def _check_result(self, effects: tuple[Effect, ...]) -> None:
        services = self.services
        if services is None:
            return
        for effect in effects:
            about = getattr(effect, "deployment_id", None) or getattr(effect, "target", "")
            why = getattr(effect, "reason", "") or getattr(getattr(effect, "decision", None), "summary", "")
            self.say(f"decided: {type(effect).__name__} {about}: {why}")
            self.figures.seen[type(effect).__name__] += 1
        if not effects:
            return
        nodes = {node.name: node for node in services.control.nodes()}
        for target in services.targets.all():
            rows = [row for row in services.registry.all() if row.target == target.name]
            kept = [row for row in rows if row.intent is not Intent.REMOVE and not _is_absent(row, nodes)]
            most = target.replicas if target.constraints.exclusive else target.replicas + SURGE
            if len(kept) > most and not self._changed_meanwhile(services, target.name):
                self._broken = Broken(f"{len(kept)} instances of {target.name}, {target.replicas} desired")

    def _changed_meanwhile(self, services: ControlServices, target: str) -> bool:
        """Whether the next pass has something to say about it: a node came back while effects were applied."""
        plan = services.reconciler.plan(services.targets.all())
        rows = {row.id for row in services.registry.all() if row.target == target}
        return any(getattr(effect, "deployment_id", None) in rows for effect in plan)

    # --- at rest

    _why = ""

    def _all_rows(self) -> tuple[Deployment, ...]:
        return self.services.registry.all() if self.services is not None else ()

    def _at_rest(self) -> bool:
        """Nothing left to decide, every order obeyed and every fact known, and the engines are those of the rows."""
        self._why = what_moves(self.services, self.workers, self.machines)
        return not self._why


def _is_absent(row: Deployment, nodes: dict[NodeName, object]) -> bool:
    node = nodes.get(row.placement.node) if row.placement is not None else None
    return node is not None and getattr(node, "liveness", None) is NodeLiveness.LOST


@dataclass
class Run:
    """How one seed went."""

    seed: int
    figures: Figures
    trace: list[str]
    seconds: float
    broken: str = ""


def run(seed: int) -> Run:
    """Play one seed."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    began = time.process_time()
    cluster = Cluster(seed)
    broken = ""
    try:
        cluster.run()
    except Broken as error:
        cause = f" ({error.__cause__!r})" if error.__cause__ else ""
        broken = f"at {cluster.loop.time():.3f} s: {error}{cause}"
        cluster.say(f"BROKEN {error}{cause}")
    finally:
        structlog.configure(**before)
    return Run(seed, cluster.figures, cluster.trace, time.process_time() - began, broken)
