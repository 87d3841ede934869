"""Whole lives of a small cluster: decisions, their effects, engines that load, crash and end, readings that lag.

The machine holds the truth (which engines exist and what they take of each device) beside the facts that
`reconcile` is told. After every step no device may be given away beyond what it has, whatever the engines do next.
"""

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from placement_strategies import DEVICES, ENTRIES, MODELS, World, clusters, gpus, is_open, nodes, not_removed, targets

from modelgrid.decide.capacity import Capacity
from modelgrid.decide.effects import CreateDeployment, Effect, PlaceDeployment, RefuseDeployment, SetIntent
from modelgrid.decide.need import footprint
from modelgrid.decide.promises import holds_place
from modelgrid.decide.reconcile import reconcile
from modelgrid.decide.replicas import SURGE, is_moving
from modelgrid.domain.deployment import Deployment, Failure, Intent
from modelgrid.domain.engine import EngineExit, EngineRef
from modelgrid.domain.gpu import GpuInventory
from modelgrid.domain.ids import DeploymentId, GpuId, ModelId, NodeName
from modelgrid.domain.node import Node, NodeLiveness, NodeStatus
from modelgrid.domain.target import Origin, RuntimeKind, Target
from modelgrid.domain.units import GIB

NAMES = ("first", "second", "third")
USUAL = ("org/middle", "org/tiny", "org/middle", "org/embed", *MODELS)
PICK = st.integers(0, 10**6)


def decide(world: World, *, reverse: bool = False, capacity: Capacity | None = None) -> tuple[Effect, ...]:
    step = -1 if reverse else 1
    return reconcile(
        list(world.targets.values())[::step],
        list(world.deployments.values())[::step],
        list(world.nodes.values())[::step],
        ENTRIES,
        RuntimeKind.DOCKER,
        world.now,
        capacity,
    )


def takes(deployment: Deployment, node: Node) -> dict[GpuId | None, int]:
    """What the engine of a deployment may take, by device."""
    placement = deployment.placement
    if placement is None or placement.node != node.name:
        return {}
    need = placement.decision.need
    if need.gpu_count == 0:
        return {None: need.per_gpu_bytes} if need.terms else {}
    totals = {gpu.id: gpu.vram_total_bytes for gpu in node.inventory.gpus}
    return {gpu: footprint(need, totals[gpu]) for gpu in placement.gpus}


class Cluster(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.capacity = Capacity()
        self.foreign: Counter[tuple[NodeName, GpuId | None]] = Counter()
        self.starting: set[DeploymentId] = set()
        """A start was begun; the engine will exist, whatever is wanted meanwhile."""
        self.alive: set[DeploymentId] = set()
        """The engine exists, and takes its memory, in full from the moment it is ready."""
        self.loaded: Counter[DeploymentId] = Counter()
        """Sixteenths of its memory that an engine has taken so far."""

    @initialize(cluster=clusters(), busy=nodes("node-z"), data=st.data())
    def begin(self, cluster: tuple[Node, ...], busy: Node, data: st.DataObject) -> None:
        # One node on which things do happen: few like GPUs that several models want, and perhaps others use.
        device = data.draw(st.sampled_from(DEVICES[1:4]))
        few = tuple(data.draw(gpus(index, device)) for index in range(data.draw(st.integers(1, 2))))
        foreign = data.draw(st.sampled_from((0, device[1] * GIB // 3)))
        few = tuple(
            replace(g, mig_enabled=False, vram_used_bytes=foreign, vram_free_bytes=g.vram_total_bytes - foreign)
            for g in few
        )
        busy = replace(
            busy,
            inventory=GpuInventory(taken_at=0.0, gpus=few),
            assignments={},
            labels={},
            runtimes=("docker",),
        )
        others = cluster if data.draw(st.booleans()) else ()
        for node in (*others, busy):
            self.world.nodes[node.name] = replace(node, status=NodeStatus.ACTIVE, liveness=NodeLiveness.READY)
            self.foreign[node.name, None] = node.memory_total_bytes - node.memory_available_bytes
            for gpu in node.inventory.gpus:
                self.foreign[node.name, gpu.id] = gpu.vram_used_bytes
        for name in NAMES:
            self.want_plainly(name, data.draw(st.sampled_from(USUAL)), data.draw(st.integers(1, 3)))
        self._pass()

    # --- people

    @rule(name=st.sampled_from(NAMES), data=st.data())
    def want(self, name: str, data: st.DataObject) -> None:
        self.world.targets[name] = data.draw(targets(name, self.world.now))

    @rule(name=st.sampled_from(NAMES), model=st.sampled_from(USUAL), replicas=st.integers(1, 3))
    def want_plainly(self, name: str, model: str, replicas: int) -> None:
        self.world.targets[name] = Target(
            name=name,
            model=ModelId(model),
            replicas=replicas,
            origin=Origin.API,
            created_at=self.world.now,
            updated_at=self.world.now,
        )

    @rule(pick=PICK, replicas=st.integers(0, 4))
    def scale(self, pick: int, replicas: int) -> None:
        if target := self._target(pick):
            self.world.targets[target.name] = replace(target, replicas=replicas)

    def change_spec(self, pick: int, context: int, gpu_count: int | None) -> None:
        if target := self._target(pick):
            spec = replace(target.spec, context=context, gpu_count=gpu_count, gpus=())
            self.world.targets[target.name] = replace(target, spec=spec)

    def forget_target(self, pick: int) -> None:
        if target := self._target(pick):
            del self.world.targets[target.name]

    @rule(
        pick=PICK,
        status=st.sampled_from((*[NodeStatus.ACTIVE] * 4, NodeStatus.CORDONED, NodeStatus.DRAINING)),
        liveness=st.sampled_from((*[NodeLiveness.READY] * 4, NodeLiveness.SUSPECT, NodeLiveness.LOST)),
        hangs=st.sampled_from((False, False, True)),
    )
    def node_changes(self, pick: int, status: NodeStatus, liveness: NodeLiveness, hangs: bool) -> None:
        node = self._node(pick)
        if hangs:
            self.probe_hangs(node)
            return
        self.world.nodes[node.name] = replace(node, status=status, liveness=liveness)
        if liveness is NodeLiveness.LOST:
            self._fence(node)

    def _fence(self, node: Node) -> None:
        """A node that is lost has ended what may run only once, and nobody has heard of it yet."""
        for deployment in self._placed():
            exclusive = (target := self.world.targets.get(deployment.target)) and target.constraints.exclusive
            if exclusive and deployment.placement and deployment.placement.node == node.name:
                self.alive.discard(deployment.id)
                self.starting.discard(deployment.id)
                self.loaded[deployment.id] = 0

    @rule(pick=PICK, data=st.data())
    def people_act(self, pick: int, data: st.DataObject) -> None:
        match data.draw(st.sampled_from(("stop or start", "stop or start", "change", "change", "restart", "forget"))):
            case "stop or start":
                self.stop_or_start(pick)
            case "restart":
                self.restart(pick)
            case "forget":
                self.forget_target(pick)
            case "change":
                context = data.draw(st.sampled_from((1024, 4096, 65_536)))
                self.change_spec(pick, context, data.draw(st.sampled_from((None, None, 1, 2))))

    def stop_or_start(self, pick: int) -> None:
        deployment = self._deployment(pick)
        if deployment is None or deployment.intent is Intent.REMOVE:
            return
        if deployment.intent is Intent.RUN:
            self._set(deployment, intent=Intent.STOP, restart_requested=False)
            return
        # Its place was free for others as soon as its engine was gone: without one it is placed anew.
        keeps = holds_place(deployment)
        placement = deployment.placement if keeps else None
        self._set(deployment, intent=Intent.RUN, restart_requested=True, placement=placement)

    def restart(self, pick: int) -> None:
        deployment = self._deployment(pick, placed=True)
        if deployment and deployment.intent is Intent.RUN:
            self._set(deployment, restart_requested=True)

    # --- engines, as the keeper drives them

    @rule(pick=PICK, steps=st.integers(1, 6), sixteenths=st.integers(0, 16))
    def engine_advances(self, pick: int, steps: int, sixteenths: int) -> None:
        chosen = self._deployment(pick, placed=True)
        for _ in range(steps):
            if chosen is not None and (deployment := self.world.deployments.get(chosen.id)):
                self._advance(deployment, sixteenths)

    @rule()
    def all_serve_and_are_read(self) -> None:
        for chosen in self._placed():
            for _ in range(6):
                if deployment := self.world.deployments.get(chosen.id):
                    self._advance(deployment, 16)
        for node in list(self.world.nodes.values()):
            self._read(node)

    def _advance(self, deployment: Deployment, sixteenths: int) -> None:
        """One step of the keeper, or of the engine."""
        name = deployment.id
        if name in self.starting:
            self.starting.discard(name)
            self.alive.add(name)
            self.loaded[name] = sixteenths
            engine = EngineRef(
                runtime=RuntimeKind.DOCKER, id=name, deployment=name, attempt=deployment.attempt, url="http://[::1]:1"
            )
            self._set(deployment, engine=engine, started_at=self.world.now)
        elif deployment.intent is not Intent.RUN or deployment.restart_requested:
            if deployment.engine is not None:
                self.alive.discard(name)
                self.loaded[name] = 0
                gone = {"engine": None, "engine_gone_at": self.world.now}
                self._set(deployment, ready_at=None, started_at=None, pulled_at=None, **gone)
            elif deployment.intent is not Intent.RUN and deployment.placement and deployment.engine_gone_at is None:
                self._set(deployment, pulled_at=None, engine_gone_at=self.world.now)
            elif deployment.intent is Intent.REMOVE:
                del self.world.deployments[name]
            elif deployment.intent is Intent.RUN:
                self._set(deployment, attempt=deployment.attempt + 1, restart_requested=False, engine_gone_at=None)
        elif deployment.placement is None or deployment.ready_at is not None:
            return
        elif deployment.started_at is not None:
            if name in self.alive:
                self.loaded[name] = 16
                self._set(deployment, ready_at=self.world.now)
        elif deployment.pulled_at is not None:
            self.starting.add(name)
        else:
            self._set(deployment, attempt=deployment.attempt + 1, pulled_at=self.world.now, engine_gone_at=None)

    @rule(pick=PICK, seen=st.booleans())
    def engine_dies(self, pick: int, seen: bool) -> None:
        """Unseen, the devices show its memory as free before anybody knows why: what the booked ledger is for."""
        deployment = self._deployment(pick, placed=True)
        if deployment is None or deployment.id not in self.alive:
            return
        # With foreign memory on the device nothing tells a reading without the engine from one with it.
        devices = [(node, device) for node in self.world.nodes.values() for device in takes(deployment, node)]
        if seen or not any(self.foreign[node.name, device] for node, device in devices):
            self.alive.discard(deployment.id)
            self.loaded[deployment.id] = 0
        if seen:
            self.death_is_noticed(pick)

    @rule(pick=PICK)
    def death_is_noticed(self, pick: int) -> None:
        deployment = self._deployment(pick, placed=True)
        if deployment is None or deployment.id in self.alive or deployment.started_at is None:
            return
        failure = Failure(attempt=deployment.attempt, exit=EngineExit(at=self.world.now, code=1))
        failures = (*deployment.failures, failure)[-3:]
        self._set(deployment, failures=failures, ready_at=None, started_at=None, pulled_at=None)

    # --- readings

    @rule(pick=PICK)
    def read_devices(self, pick: int) -> None:
        self._read(self._node(pick))

    def _read(self, node: Node) -> None:
        used: Counter[GpuId | None] = Counter()
        for name in self.alive:
            for device, size in takes(self.world.deployments[name], node).items():
                used[device] += size * self.loaded[name] // 16
        gpus = tuple(
            replace(gpu, vram_free_bytes=gpu.vram_total_bytes - self.foreign[node.name, gpu.id] - used[gpu.id])
            for gpu in node.inventory.gpus
        )
        self.world.now += 1
        self.world.nodes[node.name] = replace(
            node,
            inventory=replace(node.inventory, gpus=gpus, taken_at=self.world.now, stale=False),
            memory_available_bytes=node.memory_total_bytes - self.foreign[node.name, None] - used[None],
            heartbeat_at=self.world.now,
        )
        self.world.now += 1

    def probe_hangs(self, node: Node) -> None:
        self.world.nodes[node.name] = replace(node, inventory=replace(node.inventory, stale=True))

    # --- the decision

    @rule(times=st.integers(1, 3))
    def reconcile(self, times: int) -> None:
        for _ in range(times):
            self._pass()
            if times > 1:
                self.all_serve_and_are_read()

    def _pass(self) -> None:
        effects = decide(self.world)
        assert effects == decide(self.world, reverse=True)
        assert effects == decide(self.world, capacity=self.capacity)  # kept from pass to pass, as the service does
        self._check_landings(effects)
        self.world.now += 1
        self.world.apply(effects)
        assert decide(self.world) == ()
        for target in self.world.targets.values():
            there = [d for d in self.world.deployments.values() if not self._is_absent(d)]
            kept = not_removed(there, target.name)
            as_desired = [
                d
                for d in kept
                if d.spec == target.spec and d.model == target.model and not is_moving(d, self.world.nodes)
            ]
            if target.constraints.exclusive:
                leaving = [d for d in there if d.target == target.name and d.intent is Intent.REMOVE and holds_place(d)]
                assert len(kept) >= target.replicas - len(leaving)
                assert len(kept) <= target.replicas
            else:
                assert len(kept) >= target.replicas
                assert len(kept) <= target.replicas + SURGE
            assert len([d for d in as_desired if d.placement is not None]) <= target.replicas
            assert all(d.placement is not None or d.refusal is not None for d in kept if d.intent is Intent.RUN)
        assert all(d.intent is Intent.REMOVE for d in self._orphans())

    def _check_landings(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case SetIntent():
                    assert effect.intent is Intent.REMOVE
                    continue
                case RefuseDeployment():
                    assert not effect.decision.placed
                case PlaceDeployment():
                    assert effect.decision.placed
                case CreateDeployment():
                    pass
            decision = effect.decision
            if decision.node is not None:
                assert is_open(self.world.nodes[decision.node])
                assert not decision.gpus or not self.world.nodes[decision.node].inventory.stale
            else:
                said = {(verdict.node, verdict.gpu) for verdict in decision.verdicts}
                for node in self.world.nodes.values():
                    every_gpu = {(node.name, gpu.id) for gpu in node.inventory.gpus}
                    assert (node.name, None) in said or (every_gpu and every_gpu <= said)

    def _orphans(self) -> list[Deployment]:
        return [d for d in self.world.deployments.values() if d.target not in self.world.targets]

    @invariant()
    def no_device_is_given_away_twice(self) -> None:
        promised: Counter[tuple[NodeName, GpuId | None]] = Counter(self.foreign)
        for deployment in self.world.deployments.values():
            may_run = deployment.intent is Intent.RUN and deployment.placement is not None
            if not may_run and deployment.id not in self.alive and deployment.id not in self.starting:
                continue
            if deployment.runtime is RuntimeKind.EXTERNAL:
                continue
            for node in self.world.nodes.values():
                for device, size in takes(deployment, node).items():
                    promised[node.name, device] += size
        for node in self.world.nodes.values():
            assert promised[node.name, None] <= node.memory_total_bytes
            for gpu in node.inventory.gpus:
                assert promised[node.name, gpu.id] <= gpu.vram_total_bytes

    def _is_absent(self, deployment: Deployment) -> bool:
        node = self.world.nodes.get(deployment.placement.node) if deployment.placement is not None else None
        return node is not None and node.liveness is NodeLiveness.LOST and deployment.intent is Intent.RUN

    # --- small things

    def _deployment(self, pick: int, *, placed: bool = False) -> Deployment | None:
        some = [d for d in self.world.deployments.values() if not placed or d in self._placed()]
        return sorted(some, key=lambda d: d.id)[pick % len(some)] if some else None

    def _placed(self) -> list[Deployment]:
        """Those whose engine takes something of a device."""
        placed = [d for d in self.world.deployments.values() if d.placement is not None]
        return [d for d in placed if d.placement is not None and d.placement.decision.need.terms]

    def _node(self, pick: int) -> Node:
        return sorted(self.world.nodes.values(), key=lambda node: node.name)[pick % len(self.world.nodes)]

    def _target(self, pick: int) -> Target | None:
        some = sorted(self.world.targets.values(), key=lambda target: target.name)
        return some[pick % len(some)] if some else None

    def _set(self, deployment: Deployment, **changes: object) -> None:
        self.world.now += 1
        self.world.deployments[deployment.id] = replace(deployment, **changes)  # type: ignore[arg-type]


TestCluster = Cluster.TestCase
TestCluster.settings = settings(settings.default, stateful_step_count=40)


@given(clusters(), st.lists(st.sampled_from(NAMES), unique=True, min_size=1), st.data())
def test_first_pass_creates_all_that_is_desired(cluster, names, data):
    world = World(nodes={node.name: node for node in cluster})
    world.targets = {name: data.draw(targets(name)) for name in names}
    world.apply(decide(world))
    for target in world.targets.values():
        assert len(not_removed(world.deployments.values(), target.name)) == target.replicas
    assert decide(world) == ()
