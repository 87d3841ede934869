"""The control process: the only module that may import every floor. `modelgrid.control` starts it."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import structlog
import uvicorn
import uvloop

from modelgrid.adapters.node_certificate import FOLDER, certificate_in
from modelgrid.api.app import create_app
from modelgrid.api.cluster import create_cluster_app
from modelgrid.api.context import Services
from modelgrid.api.guard import security_headers
from modelgrid.api.publisher import Publisher
from modelgrid.appliers import Live, as_listening, missing_ports, settings_of
from modelgrid.assembly import Arguments, Assembly, lay_foundation
from modelgrid.banner import banner
from modelgrid.clustering import NotJoined
from modelgrid.config.change import changes
from modelgrid.config.file import load_config, write_atomically
from modelgrid.config.model import Config
from modelgrid.config.paths import ENDPOINT_FILE, STATE_URL, TOKEN_FILE
from modelgrid.daemon_log import Tap, configure_logging, journal_reads, set_log_level
from modelgrid.decide.platform import Platform
from modelgrid.domain.errors import ModelGridError
from modelgrid.listening import BACKLOG, Listen
from modelgrid.ports.clock import Clock
from modelgrid.ports.secrets import Secrets
from modelgrid.ports.store import Store
from modelgrid.services.actions import DeploymentActions
from modelgrid.services.catalog import CatalogService
from modelgrid.services.certificates import check_certificate
from modelgrid.services.cluster.advertise import advertised_host, console_url
from modelgrid.services.cluster.joining import JoinService
from modelgrid.services.doctor import Doctor
from modelgrid.services.drivers import DriverService
from modelgrid.services.preview import PreviewService
from modelgrid.services.restart import RestartService
from modelgrid.services.settings import SettingsService
from modelgrid.services.stream.hub import Hub
from modelgrid.services.targets import TargetRequest
from modelgrid.services.verdict import VerdictService
from modelgrid.services.vitals import DaemonVitals

SAMPLE_MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
"""Deployed on the first start of a machine that can only simulate, so that there is something to talk to."""
READY_FD = "MODELGRID_READY_FD"
"""Set by the supervisor, for whoever it starts."""
FIRST_KEY_LABEL = "first key"
HISTORY_KEPT = 1_000
KEPT_SECONDS = 120
"""How long a connection of another node is kept without a word on it: longer than nodes keep theirs, and than any
heartbeat's interval, so that a heartbeat costs no handshake."""
CATALOG_FIRST_CHECK_SECONDS = 20.0
CATALOG_CHECK_SECONDS = 6 * 3600.0
EVENTS_KEPT_SECONDS = 30 * 86_400.0

log = structlog.get_logger()


def parse(argv: Sequence[str]) -> Arguments:
    parser = argparse.ArgumentParser(prog="python -m modelgrid.control", description="The control process.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--socket", type=int, required=True, help="Descriptor of the console's listening socket.")
    parser.add_argument(
        "--cluster-socket", type=_descriptor, help="Descriptor of the control plane's listening socket."
    )
    parser.add_argument("--listening", type=json.loads, default=[], help="What the supervisor listens on, as JSON.")
    given = parser.parse_args(argv)
    url = os.environ.get(STATE_URL) or f"sqlite:///{given.state_dir.absolute() / 'state.db'}"
    return Arguments(
        config=given.config,
        state_dir=given.state_dir.absolute(),
        state_url=url,
        socket=given.socket,
        cluster_socket=given.cluster_socket,
        listening=given.listening,
    )


def _descriptor(text: str) -> int | None:
    return int(text) if text else None


async def run(arguments: Arguments, config: Config, tap: Tap) -> None:
    """Serve until SIGTERM or SIGINT. Engines run on; gateways keep serving with their last table."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    supervisor = os.getppid() if READY_FD in os.environ else None
    on_disk, config = config, as_listening(config, arguments.listening)
    async with contextlib.AsyncExitStack() as stack:
        base = await lay_foundation(arguments, config, stack)
        tap.connect(base.logs.add_from_anywhere)
        assembly = Assembly(base)
        await assembly.load()
        settings, live = settings_of(assembly, on_disk)
        await settings.load()
        await live.targets(config)
        text = await _first_start(assembly)
        await assembly.start(stack)
        loops = (
            *assembly.loops(),
            settings.watch(),
            _housekeep(base.store, base.clock),
            _watch_catalog(assembly.catalog, base.clock),
        )
        tasks = [asyncio.create_task(loop) for loop in loops]
        stack.push_async_callback(_cancel, tasks)
        restart = RestartService(settings, base.store, base.clock, supervisor=supervisor, check=live.check_restart)
        unheard = (*base.problems, *_unheard(config, on_disk, arguments.listening))
        services = _services(assembly, settings, restart, lambda: (*unheard, *_problems(base.platform, live, settings)))
        if isinstance(assembly.standing, NotJoined):
            assembly.standing.joined = lambda: _again(restart)
        publisher = Publisher(services)
        publisher.start()
        assembly.gateways.verdict = lambda: services.verdict.word
        more = (services.hub.run(), publisher.run(), services.verdict.run(), services.vitals.run())
        tasks += [asyncio.create_task(loop) for loop in more]
        app = create_app(services, _local_token(arguments.state_dir, base.secrets))
        server = _Server(_uvicorn_config(app, config), lambda: _announce(arguments, config, text))
        serving = asyncio.create_task(server.serve(sockets=[socket.socket(fileno=arguments.socket)]))
        servers, ends = [server], [serving]
        if arguments.cluster_socket is not None:
            nodes_app = create_cluster_app(app, *assembly.standing.answers())
            servers.append(_Server(_cluster_config(nodes_app, arguments.state_dir), lambda: None))
            listening = [socket.socket(fileno=arguments.cluster_socket)]
            serving_nodes = asyncio.create_task(servers[-1].serve(sockets=listening))
            tasks.append(serving_nodes)
            ends.append(serving_nodes)
        log.info("control starts", platform=base.platform.reason)
        await _until(stopped, [serving, *tasks])
        services.hub.close()
        base.logs.end_waits()
        assembly.standing.let_go()
        for item in servers:
            item.should_exit = True
        await asyncio.gather(*ends)


async def _first_start(assembly: Assembly) -> str:
    """Seed user, key and sample model where there are none yet; return what to tell the operator."""
    base = assembly.base
    password = await assembly.accounts.bootstrap()
    first_key = None
    if not assembly.keys.all():
        if not journal_reads():  # a key is good for ever, and journals are kept and collected
            first_key = (await assembly.keys.generate(FIRST_KEY_LABEL, by="first start")).secret
        if base.platform.simulated and not base.arguments.config.exists() and not assembly.targets.all():
            await assembly.targets.ensure(TargetRequest(model=SAMPLE_MODEL), by="first start")
    sample = SAMPLE_MODEL if any(target.model == SAMPLE_MODEL for target in assembly.targets.all()) else None
    return banner(
        base.config,
        base.platform,
        password,
        first_key,
        base.gpus.inventory,
        base.arguments.config,
        base.arguments.state_dir,
        sample,
    )


def _unheard(running: Config, on_disk: Config, listening: Sequence[Listen]) -> tuple[str, ...]:
    """Return what the supervisor could not follow when it replaced this process."""
    lost = [f"{change.path} is {change.before} and not {change.after}" for change in changes(running, on_disk)]
    lost += [f"Nobody listens on {key}, {port}" for key, port in missing_ports(on_disk, listening)]
    return tuple(f"{what}: the supervisor could not follow, its log says why." for what in lost)


def _problems(platform: Platform, live: Live, settings: SettingsService) -> tuple[str, ...]:
    """Return what was asked for and cannot be had."""
    here = (f"{platform.problem}. {platform.fix}".strip(),) if platform.problem else ()
    return (*here, *settings.problems(), *live.problems)


def _services(
    assembly: Assembly, settings: SettingsService, restart: RestartService, problems: Callable[[], Sequence[str]]
) -> Services:
    base = assembly.base

    async def configure(patch: dict[str, object], by: str) -> None:
        await settings.patch(patch, by=by, etags=None, dry_run=False)

    async def restarted(by: str) -> None:
        await restart.restart(by=by)

    drivers = DriverService(base.gpus, base.clock)
    doctor = Doctor(
        state_dir=base.arguments.state_dir,
        cache_dir=assembly.cache_dir,
        platform=base.platform,
        runtimes=base.runtimes,
        inventory=lambda: base.gpus.inventory,
        drivers=drivers,
        catalog=assembly.catalog,
        gateways=assembly.gateways.reports,
        problems=problems,
        workers=base.config.api.workers,
    )
    preview = PreviewService(assembly.targets, assembly.reconciler.plan, base.clock)
    return Services(
        config=base.config,
        settings=settings,
        restart=restart,
        state_dir=base.arguments.state_dir,
        platform=base.platform,
        store=base.store,
        clock=base.clock,
        registry=assembly.registry,
        targets=assembly.targets,
        preview=preview,
        actions=DeploymentActions(assembly.registry, assembly.targets, base.clock),
        keys=assembly.keys,
        accounts=assembly.accounts,
        sessions=assembly.sessions,
        tokens=assembly.tokens,
        audit=assembly.audit,
        catalog=assembly.catalog,
        logs=assembly.logs,
        metrics=assembly.metrics,
        live=assembly.live,
        nodes=assembly.nodes,
        node_name=assembly.local.name,
        control=assembly.standing.control,
        contact=lambda: assembly.standing.agent.contact if assembly.standing.agent else None,
        node_credential=assembly.standing.around().credential,
        gateway_url=assembly.local.advertise_url,
        console_url=console_url(base.config),
        cluster_url=f"https://{advertised_host(base.config)}:{base.config.cluster.port}",
        joining=JoinService(
            config=base.config,
            state_dir=base.arguments.state_dir,
            name=assembly.local.name,
            clock=base.clock,
            registry=assembly.registry,
            targets=assembly.targets,
            host_towards=lambda url: advertised_host(base.config, urlsplit(url).hostname or ""),
            configure=configure,
            restart=restarted,
        ),
        node_status=assembly.node_status,
        drivers=drivers,
        doctor=doctor,
        gateways=assembly.gateways.reports,
        verdict=VerdictService(
            nodes=assembly.nodes,
            registry=assembly.registry,
            targets=assembly.targets,
            gateways=assembly.gateways.reports,
            gateways_wanted=base.config.api.workers,
            served_elsewhere=assembly.gateways.served_elsewhere,
            problems=problems,
            logs=assembly.logs,
            catalog=assembly.catalog,
            state_dir=base.arguments.state_dir,
            clock=base.clock,
            on_change=assembly.gateways.republish,
        ),
        vitals=DaemonVitals(base.clock),
        hub=Hub(base.secrets.token(64), base.clock),
        started_at=base.clock.now(),
    )


def _announce(arguments: Arguments, config: Config, text: str) -> None:
    """Write down where the console answers, and tell the supervisor that it does."""
    endpoint = {"url": config.api.local_console_url, "pid": os.getpid()}
    write_atomically(arguments.state_dir / ENDPOINT_FILE, json.dumps(endpoint) + "\n")
    descriptor = os.environ.pop(READY_FD, "")
    if descriptor:
        with os.fdopen(int(descriptor), "w") as pipe:
            pipe.write(text)


async def _again(restart: RestartService) -> None:
    await restart.restart(by="the shared secret")


async def _until(stopped: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Return when told to stop. A loop that ended by itself is a defect: it ends the process, and the supervisor
    starts a new one."""
    waiting = asyncio.create_task(stopped.wait())
    done, _ = await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for task in done - {waiting}:
        if (error := task.exception()) is not None:
            raise error
        raise AssertionError(f"{task.get_coro()} ended by itself")


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Server(uvicorn.Server):
    """uvicorn that says when it serves, and leaves signals to the one owner that the control process has."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _uvicorn_config(app: object, config: Config) -> uvicorn.Config:
    tls = config.api.tls
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=security_headers(config.api),
        timeout_graceful_shutdown=3,
        ssl_certfile=tls.cert_file if tls else None,
        ssl_keyfile=tls.key_file if tls else None,
    )


def _cluster_config(app: object, state_dir: Path) -> uvicorn.Config:
    """The port for other nodes: TLS with this node's own certificate, which they know."""
    certificate = certificate_in(state_dir / FOLDER)
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEPT_SECONDS,
        backlog=BACKLOG,  # a thousand nodes come back with three thousand connections at once
        timeout_graceful_shutdown=3,
        ssl_certfile=str(certificate.certificate),
        ssl_keyfile=str(certificate.key),
    )


async def _watch_catalog(catalog: CatalogService, clock: Clock) -> None:
    """Look now and then whether the registry has newer entries; they are taken over by an operator's refresh."""
    await clock.sleep(CATALOG_FIRST_CHECK_SECONDS)
    while True:
        await catalog.check()
        await clock.sleep(CATALOG_CHECK_SECONDS)


async def _housekeep(store: Store, clock: Clock) -> None:
    while True:
        try:
            await store.prune_history(keep=HISTORY_KEPT, events_before=clock.now() - EVENTS_KEPT_SECONDS)
        except ModelGridError as error:
            log.warning("history not pruned", error=str(error))
        await clock.sleep(3600.0)


def _local_token(state_dir: Path, secrets: Secrets) -> str:
    """Return the local operator's token; made at the first start, in a file that only the daemon's user can read."""
    path = state_dir / TOKEN_FILE
    if not path.exists():
        write_atomically(path, secrets.token(256) + "\n")
    return path.read_text().strip()


def main() -> None:
    arguments = parse(sys.argv[1:])
    tap = configure_logging()
    try:
        config = load_config(arguments.config)
        set_log_level(config.log_level)
        check_certificate(config)
        uvloop.run(run(arguments, config, tap))
    except ModelGridError as error:
        sys.stderr.write(f"modelgrid: {error}\n")
        sys.exit(error.exit_code)
