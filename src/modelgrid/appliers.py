"""How each live key of the configuration is made to hold in the running daemon."""

import asyncio
from collections.abc import Sequence

from modelgrid.assembly import Assembly
from modelgrid.composition import catalog_sources, engine_runtimes, launch_settings, make_model_cache
from modelgrid.config.model import Config
from modelgrid.daemon_log import set_log_level
from modelgrid.domain.errors import Conflict, InvalidConfig
from modelgrid.domain.ids import GpuId
from modelgrid.domain.node import NodeRole
from modelgrid.listening import PORT_KEYS, Listen, why_not
from modelgrid.services.certificates import check_certificate
from modelgrid.services.settings import Applier, SettingsService

SHOWN_NODES = 5


class Live:
    """Applies to one assembly. `problems` has what the configuration asks for and cannot be deployed."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._refreshing: set[asyncio.Task[object]] = set()
        self.problems: Sequence[str] = ()

    def appliers(self) -> tuple[Applier, ...]:
        """Return one for each group of keys that take hold together."""
        return (
            Applier(keys={"logLevel"}, apply=self._log),
            Applier(keys={"api.uiHosts"}, apply=self._hosts),
            Applier(keys={"api.cors", "api.rateLimit", "api.queueLimit", "models.autoDeploy"}, apply=self._gateways),
            Applier(keys={"api.auditDays", "api.auditEntries"}, apply=self._audit),
            Applier(keys={"docker.image", "docker.imageCommands", "docker.shmGib"}, apply=self._launches),
            Applier(keys={"gpus.assignments"}, apply=self._assignments),
            Applier(keys={"models.registryUrl", "models.sources"}, apply=self._catalog),
            Applier(keys={"containers", "models.autoLoad"}, apply=self.targets),
        )

    async def check_change(self, config: Config) -> None:
        """Raise `InvalidConfig` or `Conflict` for what nobody should write into config.json as things are."""
        await asyncio.to_thread(check_certificate, config)
        control = self._assembly.standing.control
        if control is None or config.cluster.role is NodeRole.CONTROL_PLANE:
            return
        names = [str(member.name) for member in control.members.all()]
        if names:
            raise Conflict(
                f"This control plane still has {_nodes(names)}: they would go on with nobody to tell them what to do.",
                fix="Drain and remove each first (`modelgrid cluster drain NAME --wait`, `modelgrid cluster remove "
                "NAME`), or let it leave by itself (`modelgrid cluster leave` there).",
                nodes=names,
            )

    async def check_restart(self, config: Config) -> None:
        """Raise `Conflict` when the daemon would not come up, or not as asked, with this configuration."""
        try:
            await self.check_change(config)
        except InvalidConfig as error:
            raise Conflict(error.message, fix=error.fix) from None
        if why_no_cache := await asyncio.to_thread(make_model_cache, config, self._assembly.base.arguments.state_dir):
            raise Conflict(f"{why_no_cache}.", fix="Name a folder that the daemon's user can make, or has.")
        running = self._assembly.base.config
        present = _addresses(running)
        held = {port for _, port in present.values()}
        for key, asked in _addresses(config).items():
            same = present.get(key) == asked
            if not same and (why := await asyncio.to_thread(why_not, *asked, ours=asked[1] in held)):
                raise Conflict(f"Nobody could listen on {asked[0]}:{asked[1]}: {why}.", fix="Name another address.")
        wanted = config.wanted_runtime
        if wanted is None or wanted is running.wanted_runtime:
            return
        base = self._assembly.base
        runtime = engine_runtimes(config, base.arguments.state_dir, "nobody")[wanted]
        try:
            health = await runtime.health()
        finally:
            await runtime.close()
        if not health.available:
            raise Conflict(f"The runtime {wanted.value} does not work here: {health.problem}", fix=health.fix)

    async def targets(self, config: Config) -> None:
        self.problems = await self._assembly.targets.seed(config)

    async def _log(self, config: Config) -> None:
        set_log_level(config.log_level)

    async def _hosts(self, config: Config) -> None:
        """Nothing is to be done: the console's port looks at the names that hold with each call."""

    async def _gateways(self, config: Config) -> None:
        self._assembly.gateways.configure(config.api, auto_deploy=config.models.auto_deploy)

    async def _audit(self, config: Config) -> None:
        self._assembly.audit.use(config.api.audit_bounds)

    async def _launches(self, config: Config) -> None:
        base = self._assembly.base
        self._assembly.launches.configure(launch_settings(config, base.arguments.state_dir, base.platform))

    async def _assignments(self, config: Config) -> None:
        self._assembly.local.assignments = {GpuId(gpu): name for gpu, name in config.gpus.assignments.items()}
        self._assembly.reconciler.wake()

    async def _catalog(self, config: Config) -> None:
        """Read what is on this machine, and ask the servers in the background: they may be slow, or away."""
        base, catalog = self._assembly.base, self._assembly.catalog
        await catalog.use(catalog_sources(config, base.arguments.state_dir, base.clock))
        task: asyncio.Task[object] = asyncio.create_task(catalog.refresh())
        self._refreshing.add(task)
        task.add_done_callback(self._refreshing.discard)


def settings_of(assembly: Assembly, on_disk: Config) -> tuple[SettingsService, Live]:
    """Return the settings of the daemon and what applies them."""
    base, live = assembly.base, Live(assembly)
    settings = SettingsService(
        path=base.arguments.config,
        on_disk=on_disk,
        running=base.config,
        store=base.store,
        clock=base.clock,
        appliers=live.appliers(),
        check=live.check_change,
    )
    return settings, live


def as_listening(config: Config, listening: Sequence[Listen]) -> Config:
    """Return `config` with the addresses and the number of gateways that the supervisor has in fact."""
    fact = {item["name"]: item for item in listening}
    api: dict[str, object] = {}
    if "api" in fact:
        api |= {"host": fact["api"]["host"], "port": fact["api"]["port"], "workers": fact["api"]["count"]}
    if "ui" in fact:
        api |= {"ui_host": fact["ui"]["host"], "ui_port": fact["ui"]["port"]}
    cluster: dict[str, object] = {}
    for name, field in (("peers", "peer_port"), ("cluster", "port")):
        if name in fact:
            cluster[field] = fact[name]["port"]
            if fact[name]["host"] != config.cluster_host:
                cluster["host"] = fact[name]["host"]
    update = {"api": config.api.model_copy(update=api), "cluster": config.cluster.model_copy(update=cluster)}
    return config.model_copy(update=update)


def missing_ports(config: Config, listening: Sequence[Listen]) -> tuple[tuple[str, int], ...]:
    """Return the ports for other nodes, by their keys, that are asked for and not had. `listening`: as the supervisor
    tells it; empty where there is none."""
    names = {PORT_KEYS[item["name"]] for item in listening}
    return tuple((key, port) for key, port in config.cluster_ports.items() if names and key not in names)


def _nodes(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN_NODES]) + (", …" if len(names) > SHOWN_NODES else "")
    return f"{len(names)} other node{'s' * (len(names) > 1)} ({shown})"


def _addresses(config: Config) -> dict[str, tuple[str, int]]:
    """Return where the daemon listens, by the keys of the ports."""
    api = {"api.port": (config.api.host, config.api.port), "api.uiPort": (config.api.ui_host, config.api.ui_port)}
    return api | {key: (config.cluster_host, port) for key, port in config.cluster_ports.items()}
