"""The services of the control process, put together from adapters and configuration."""

import asyncio
import socket
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from modelgrid.adapters.clock_system import SystemClock
from modelgrid.adapters.log_files import LogFiles
from modelgrid.adapters.mounts import check_mounts
from modelgrid.adapters.process_owner import ProcessOwner
from modelgrid.adapters.secrets_file import FileSecrets
from modelgrid.adapters.store_sql import open_store
from modelgrid.clustering import Ground, standing
from modelgrid.composition import (
    catalog_sources,
    engine_runtimes,
    gpu_sources,
    launch_settings,
    make_model_cache,
    model_cache_dir,
    mount_roots,
    real_gpu_readers,
)
from modelgrid.config.model import Config
from modelgrid.config.paths import INITIAL_PASSWORD_FILE
from modelgrid.decide.missing_nodes import on_missing_nodes
from modelgrid.decide.platform import Platform, PlatformFacts, PlatformSettings, choose_platform
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.ids import GpuId, NodeName
from modelgrid.domain.node import Node
from modelgrid.domain.target import RuntimeKind
from modelgrid.listening import Listen
from modelgrid.ports.clock import Clock
from modelgrid.ports.runtime import Runtime
from modelgrid.ports.secrets import Secrets
from modelgrid.ports.store import Store
from modelgrid.services.accounts import AccountService
from modelgrid.services.api_keys import ApiKeyService
from modelgrid.services.audit import AuditService
from modelgrid.services.catalog import CatalogService
from modelgrid.services.cluster.advertise import gateway_url
from modelgrid.services.cluster.intake import Intake
from modelgrid.services.epoch import next_epoch
from modelgrid.services.events import Notifier
from modelgrid.services.gateway_lines import GatewayLines
from modelgrid.services.gateways import GatewayService
from modelgrid.services.gpu_inventory import GpuInventoryService
from modelgrid.services.keepers import Keepers
from modelgrid.services.kept import KeeperTools
from modelgrid.services.launches import Launches
from modelgrid.services.live import LiveFacts
from modelgrid.services.login_throttle import LoginThrottle
from modelgrid.services.logs.store import LogStore
from modelgrid.services.metrics.exposition import exposition
from modelgrid.services.metrics.scraper import Scraper
from modelgrid.services.metrics.service import MetricsService
from modelgrid.services.node import LocalNode
from modelgrid.services.node_status import NodeStatusService
from modelgrid.services.passwords import Passwords
from modelgrid.services.ports import EnginePorts
from modelgrid.services.readiness import ReadinessProbe
from modelgrid.services.reconciler import Reconciler
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.sessions import SessionService
from modelgrid.services.targets import TargetService
from modelgrid.services.tokens import TokenService

LOG_FOLDER = "logs"
NODE_NAME = "node_name"
"""Setting: the name under which this node ran last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What the supervisor gives the control process."""

    config: Path
    state_dir: Path
    state_url: str
    socket: int
    cluster_socket: int | None = None
    """Descriptor on which a control plane listens for its nodes; None on other nodes, and where it cannot be had."""
    listening: Sequence[Listen] = ()
    """What the supervisor listens on in fact; empty where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """What everything else stands on: the outside world of this node, as adapters."""

    arguments: Arguments
    config: Config
    clock: Clock
    epoch: int
    """Number of this start of the daemon: larger than that of every start before it."""
    logs: LogStore
    secrets: Secrets
    store: Store
    registry: DeploymentRegistry
    platform: Platform
    runtimes: Mapping[RuntimeKind, Runtime]
    """Every runtime this node could use."""
    usable: Mapping[RuntimeKind, Runtime]
    """Those that deployments do use here."""
    gpus: GpuInventoryService
    problems: Sequence[str]
    """What the configuration asks for and the start could not have."""


async def lay_foundation(arguments: Arguments, config: Config, stack: AsyncExitStack) -> Foundation:
    """Open the store and look at the machine. What was opened is closed by `stack`.

    Raises `ModelGridError` when the state cannot be opened or the configuration cannot be met here."""
    clock, secrets = SystemClock(), FileSecrets(arguments.state_dir)
    logs = LogStore(LogFiles(arguments.state_dir / LOG_FOLDER), clock)
    await logs.open()
    stack.push_async_callback(logs.close)
    store = await open_store(arguments.state_url)
    stack.push_async_callback(store.close)
    registry = DeploymentRegistry(store)
    await registry.load()
    runtimes = engine_runtimes(config, arguments.state_dir, await _owner(store, secrets))
    for runtime in runtimes.values():
        stack.push_async_callback(runtime.close)
    in_use = frozenset(item.runtime for item in registry.all())
    platform = await _platform(config, runtimes, in_use)
    gpus = GpuInventoryService(gpu_sources(config, arguments.state_dir, platform), clock, owner_of=_owners(registry).of)
    stack.push_async_callback(gpus.close)
    usable = {RuntimeKind.EXTERNAL, platform.runtime, *in_use}
    no_cache = await asyncio.to_thread(make_model_cache, config, arguments.state_dir)
    return Foundation(
        arguments=arguments,
        config=config,
        clock=clock,
        epoch=await next_epoch(store, clock),
        logs=logs,
        secrets=secrets,
        store=store,
        registry=registry,
        platform=platform,
        runtimes=runtimes,
        usable={kind: runtime for kind, runtime in runtimes.items() if kind in usable},
        gpus=gpus,
        problems=(f"{no_cache}.",) if no_cache else (),
    )


def _owners(registry: DeploymentRegistry) -> ProcessOwner:
    return ProcessOwner(lambda: {item.engine.id: item.id for item in registry.all() if item.engine is not None})


async def _owner(store: Store, secrets: Secrets) -> str:
    """Return the name under which this state's engines are marked; made once, kept in the store."""
    known = (await store.settings(["owner"])).get("owner")
    if known is None:
        known = secrets.token(96)
        await store.put_setting("owner", known)
    return known


async def _platform(
    config: Config, runtimes: Mapping[RuntimeKind, Runtime], in_use: frozenset[RuntimeKind]
) -> Platform:
    """Decide what this machine does. A runtime that has engines of ours already stays, answering or not.

    Runtimes are asked only when the answer can matter: a container engine may take seconds to give it."""
    asked = config.gpus.simulate
    wanted = PlatformSettings(runtime=config.wanted_runtime, simulate=len(asked) if isinstance(asked, tuple) else asked)
    hardware = any(reader.hardware_present() for reader in real_gpu_readers(config))
    facts = PlatformFacts(hardware_present=hardware, runtimes=(), in_use=in_use)
    if wanted.runtime in {None, RuntimeKind.SIMULATED}:
        platform = choose_platform(facts, wanted)
        if platform.runtime is RuntimeKind.SIMULATED:
            return platform
    candidates = [runtime for kind, runtime in runtimes.items() if wanted.runtime in {None, kind}]
    health = await asyncio.gather(*(runtime.health() for runtime in candidates))
    return choose_platform(replace(facts, runtimes=tuple(health)), wanted)


def _moved(row: Deployment, *, name: NodeName) -> Deployment:
    return replace(row, placement=replace(row.placement, node=name)) if row.placement is not None else row


class Assembly:
    """The services of one node, wired to each other. `load` first, then `start`, then run every one of `loops`."""

    def __init__(self, base: Foundation) -> None:
        self.base = base
        config, clock, store = base.config, base.clock, base.store
        state_dir = base.arguments.state_dir
        self.registry = base.registry
        self.catalog_changed = Notifier()
        self.catalog = CatalogService(
            catalog_sources(config, state_dir, clock), clock, lambda _: self.catalog_changed.notify()
        )
        roots = mount_roots(config, state_dir)
        name = NodeName(config.node_name or socket.gethostname())
        self.targets = TargetService(
            store,
            self.catalog,
            clock,
            base.secrets,
            check_mounts=lambda mounts: check_mounts(mounts, roots),
            local=name,
        )
        self.keys = ApiKeyService(store, clock, base.secrets)
        self.passwords = Passwords()
        self.accounts = AccountService(store, clock, base.secrets, self.passwords, state_dir / INITIAL_PASSWORD_FILE)
        self.audit = AuditService(store, clock, base.secrets, config.api.audit_bounds)
        self.tokens = TokenService(store, clock, base.secrets)
        self.sessions = SessionService(store, clock, base.secrets, self.accounts, LoginThrottle(clock))
        self.node_status = NodeStatusService(store, clock)
        self.logs, self.live, self.probe = base.logs, LiveFacts(), ReadinessProbe()
        self.started_at = clock.now()
        self.metrics = MetricsService(self.registry, self.nodes, Scraper(self.registry, clock, name), clock)
        self.default_runtime = base.platform.runtime or RuntimeKind.PROCESS
        self.local = LocalNode(
            name=name,
            role=config.cluster.role,
            advertise_url=gateway_url(config),
            labels=config.cluster.labels,
            assignments={GpuId(gpu): name for gpu, name in config.gpus.assignments.items()},
            runtimes=tuple(kind.value for kind in base.usable),
            default_runtime=self.default_runtime.value,
            inventory=lambda: base.gpus.inventory,
        )
        self.standing = standing(
            Ground(
                config=config,
                state_dir=state_dir,
                epoch=base.epoch,
                store=store,
                clock=clock,
                secrets=base.secrets,
                registry=self.registry,
                targets=self.targets,
                catalog=self.catalog,
                live=self.live,
                local=self.local,
                node_status=self.node_status,
                metrics=self.metrics,
            )
        )
        self.reconciler = Reconciler(
            registry=self.registry,
            targets=self.targets,
            catalog=self.catalog,
            nodes=self.nodes,
            default_runtime=self.default_runtime,
            clock=clock,
            secrets=base.secrets,
        )
        self.gateways = GatewayService(
            socket_path=state_dir / "run" / "control.sock",
            epoch=base.secrets.token(64),
            registry=self.registry,
            targets=self.targets,
            keys=self.keys,
            catalog=self.catalog,
            clock=clock,
            api=config.api,
            auto_deploy=config.models.auto_deploy,
            around=self.standing.around(),
        )
        self.launches = Launches(
            find=lambda model: self.standing.ordered_entry(model) or self.catalog.find(model),
            targets=self.targets,
            inventory=lambda: base.gpus.inventory,
            settings=launch_settings(config, state_dir, base.platform),
            check_start=self.standing.check_start,
        )
        ports = EnginePorts(self._held_ports, base.secrets.integer(32))
        self.keepers = Keepers(
            KeeperTools(
                registry=self.registry,
                store=store,
                runtimes=base.usable,
                logs=self.logs,
                live=self.live,
                probe=self.probe,
                clock=clock,
                allocate_port=ports.allocate,
                launch=self.launches.launch,
                stop_grace=self.standing.stop_grace,
                names=self.launches.names,
                node=name,
                in_flight=self.gateways.in_flight,
                engine_gone=base.gpus.engine_gone,
            )
        )

    def nodes(self) -> Sequence[Node]:
        """Return the nodes of the cluster, this one first."""
        return self.standing.nodes()

    def metrics_text(self) -> str:
        """Return control's part of `/metrics`."""
        return exposition(
            nodes=self.nodes(),
            targets=self.targets.all(),
            deployments=self.registry.all(),
            figures=self.metrics.scraper.figures,
            started_at=self.started_at,
            log_problem=bool(self.logs.problem),
            now=self.base.clock.now(),
        )

    @property
    def cache_dir(self) -> Path:
        return model_cache_dir(self.base.config, self.base.arguments.state_dir)

    async def load(self) -> None:
        """Read everything that is stored, and the GPUs once (bounded by their probes' timeout)."""
        await asyncio.gather(
            self.catalog.load(),
            self.targets.load(),
            self.keys.load(),
            self.sessions.load(),
            self.tokens.load(),
            self.audit.load(),
            self.node_status.load(),
            self.base.gpus.refresh(),
        )
        await self._take_new_name()
        await self.standing.load()
        if self.standing.control is None:
            await self._archive_of_other_nodes()

    async def _take_new_name(self) -> None:
        """Let what was placed on this node stay on it when `nodeName` was changed."""
        store, name = self.base.store, self.local.name
        before = (await store.settings([NODE_NAME])).get(NODE_NAME)
        if before == name:
            return
        for row in self.registry.all():
            if row.placement is not None and row.placement.node == before:
                await self.registry.change(row.id, partial(_moved, name=name))
        await store.put_setting(NODE_NAME, name)

    async def _archive_of_other_nodes(self) -> None:
        """End the rows of what ran elsewhere while this node was a control plane. config.json was edited by hand: the
        daemon itself refuses that while it has members."""
        base, name = self.base, self.local.name
        intake = Intake(base.store, self.registry, self.targets, self.live, base.clock)
        for row, node in on_missing_nodes(self.registry.all(), {name}):
            await intake.archive(row, None, f"{node} is no node of this cluster: {name} is {self.local.role.value} now")

    async def start(self, stack: AsyncExitStack) -> None:
        """Let gateways connect, and take every deployment in hand."""
        lines = GatewayLines(self.logs)
        lines.know()
        self.gateways.on_report(lines.take)
        self.gateways.on_report(self.metrics.take_report)
        self.gateways.control_metrics = self.metrics_text
        self.gateways.kv_blocks = self.metrics.kv_blocks
        self.metrics.scraper.on_first_reading(lambda _: self.gateways.republish())
        stack.push_async_callback(self.metrics.scraper.close)
        await self.gateways.start()
        stack.push_async_callback(self.gateways.close)
        stack.push_async_callback(self.probe.close)
        stack.callback(self.passwords.close)
        self.registry.on_change(lambda _: self.reconciler.wake())
        self.registry.on_change(lambda _: self.node_status.look())
        self.base.gpus.subscribe(lambda _: self.reconciler.wake())
        if self.standing.agent is not None:
            self.base.gpus.subscribe(self.standing.agent.take_inventory)
        for notifier in (self.targets.changed, self.node_status.changed, self.catalog_changed):
            notifier.listen(self.reconciler.wake)
        if self.standing.control is not None:
            self.standing.control.changed.listen(self.reconciler.wake)
        await self.standing.start(self.gateways)
        stack.push_async_callback(self.standing.close)
        self.keepers.start()
        stack.push_async_callback(self.keepers.close)

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what has to run for as long as the process does."""
        placed_on = self.registry.placed_on
        decides = (self.reconciler.run(), self.node_status.tell_drains(placed_on)) if self.standing.decides else ()
        return (
            *decides,
            *self.standing.loops(),
            self.gateways.run(),
            self.sessions.run(),
            self.tokens.run(),
            self.audit.run(),
            self.metrics.run(),
            self.metrics.scraper.run(),
            self.base.gpus.run(),
            self.keepers.sweep_regularly(),
        )

    def _held_ports(self) -> set[int]:
        return {item.port for item in self.registry.all() if item.port and self.keepers.tools.keeps(item)}
