"""Control's side of the gateways: sends routing tables down, takes reports in."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from modelgrid.config.model import ApiConfig
from modelgrid.decide.routing_table import model_routes, served_beside, with_cache_blocks, with_own
from modelgrid.domain.cluster import SharedRouting
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.routing import GatewayReport, GatewaySettings, KeyGrant, Peer, ReplicaState, RoutingTable
from modelgrid.gateway.link import ControlLink
from modelgrid.ports.clock import Clock
from modelgrid.services.api_keys import ApiKeyService
from modelgrid.services.catalog import CatalogService
from modelgrid.services.pace import pause_after
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetService

REPEAT_SECONDS = 10.0
"""A table is sent so often although nothing changed: gateways take control for gone that says nothing."""
REPORT_FRESH_SECONDS = 3.0
WANTED_FRESH_SECONDS = 30.0
"""A request older than this does not bring its model up any more: its client has gone, and the model may have been
removed since on purpose."""
LONGEST_PAUSE_SECONDS = 0.25
"""Between two tables: half of the time in which all gateways are to have what changed."""
METRICS_SECONDS = 1.0
"""Control's part of `/metrics` is made no oftener, however often the table changes."""
METRICS_REST = 50.0
"""Nor before so many times as long as it took have passed: that of a thousand nodes is megabytes."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """What a node's gateways know of the other nodes."""

    node: str
    peers: Callable[[], tuple[Peer, ...]] = tuple
    credential: Callable[[], str] = str
    lost: Callable[[], Collection[str]] = tuple
    """Nodes whose engines are not to be counted on."""
    shared: Callable[[], SharedRouting | None] | None = None
    """On a worker: what its control plane said last. There the models and the keys are the control plane's."""


class GatewayService:
    """Publishes a new table soon after anything in it changed. `run` is the loop."""

    def __init__(
        self,
        *,
        socket_path: Path,
        epoch: str,
        registry: DeploymentRegistry,
        targets: TargetService,
        keys: ApiKeyService,
        catalog: CatalogService,
        clock: Clock,
        api: ApiConfig,
        auto_deploy: bool,
        around: Neighbourhood,
    ) -> None:
        self._around = around
        self._link = ControlLink(socket_path, self._take_report)
        self._epoch = epoch
        self._registry = registry
        self._targets = targets
        self._keys = keys
        self._catalog = catalog
        self._clock = clock
        self._settings = _settings(api)
        self._auto_deploy = auto_deploy
        self._generation = 0
        self._changed = asyncio.Event()
        self._reports: dict[tuple[str, int], tuple[float, GatewayReport]] = {}
        """The newest report of each gateway process and when it came. While the daemon rolls, the old and the new
        process of one index report side by side."""
        self._reported = asyncio.Event()
        self._withdrawn: dict[DeploymentId, int] = {}
        """Generation since which a replica is given no new requests."""
        self._brought_up: dict[str, float] = {}
        """Time of the request that last brought a model up."""
        self._load_seconds: dict[str, float] = {}
        """How long the last load of each model took; kept when its deployments are gone."""
        self._trouble = ""
        self.control_metrics: Callable[[], str] = str
        """Makes control's part of `/metrics`."""
        self._metrics: tuple[float, str] | None = None
        """When it is made next, and what it said last."""
        self._metrics_due: asyncio.TimerHandle | None = None
        self.verdict: Callable[[], str] = str
        """The word of the verdict on the fleet; empty while there is none."""
        self.kv_blocks: Callable[[DeploymentId], int | None] = lambda _: None
        """What is known of the KV cache of an engine."""
        self._listeners: list[Callable[[GatewayReport], None]] = []
        self.on_table: list[Callable[[RoutingTable], None]] = []
        """Called with each table that is published, on the event loop."""

    def on_report(self, listener: Callable[[GatewayReport], None]) -> None:
        """Call `listener` with each report as it comes, on the event loop. It must not block or raise."""
        self._listeners.append(listener)

    def republish(self) -> None:
        """Something that is in the table changed."""
        self._changed.set()

    def configure(self, api: ApiConfig, *, auto_deploy: bool) -> None:
        """Serve by other settings from the next table on, which goes out at once."""
        self._settings = _settings(api)
        self._auto_deploy = auto_deploy
        self._changed.set()

    async def start(self) -> None:
        """Listen for gateways and publish the first table."""
        await self._link.start()
        self._publish()
        self._registry.on_change(lambda _: self._changed.set())
        self._targets.changed.listen(self._changed.set)
        self._keys.changed.listen(self._changed.set)

    async def run(self) -> None:
        """Publish on change and every 10 s, and act on reports, until cancelled."""
        await asyncio.gather(self._keep_published(), self._keep_acting())

    async def _keep_published(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REPEAT_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            began = self._clock.monotonic()
            self._publish()
            await self._clock.sleep(pause_after(self._clock.monotonic() - began, LONGEST_PAUSE_SECONDS))

    async def _keep_acting(self) -> None:
        while True:
            await self._reported.wait()
            self._reported.clear()
            try:
                await self._act_on_reports()
                self._trouble = ""
            except ModelGridError as error:  # the next report, a second later, says it all again
                if self._trouble != error.message:
                    log.warning("reports of gateways not taken over", error=str(error))
                self._trouble = error.message

    async def close(self) -> None:
        if self._metrics_due is not None:
            self._metrics_due.cancel()
        await self._link.close()

    def reports(self) -> tuple[GatewayReport, ...]:
        """Return the newest report of each gateway that is connected and reports."""
        now = self._clock.monotonic()
        return tuple(report for at, report in self._reports.values() if now - at <= REPORT_FRESH_SECONDS)

    def served_elsewhere(self) -> bool:
        """Return whether, on a worker, other nodes serve a model as far as its control plane said."""
        shared = self._around.shared() if self._around.shared is not None else None
        return shared is not None and served_beside(shared.models, self._around.node)

    def in_flight(self, deployment: DeploymentId) -> int | None:
        """Return the requests running on a replica that takes no new ones; `None` while a gateway that reports may
        still send it some, because it has not said yet that it took over the table which withdrew the replica."""
        fresh, since = self.reports(), self._withdrawn.get(deployment)
        if not fresh or since is None or any(r.epoch != self._epoch or r.generation < since for r in fresh):
            return None
        return sum(outcome.in_flight for r in fresh for outcome in r.outcomes if outcome.replica == deployment)

    def _publish(self) -> None:
        self._generation += 1
        table = self._table()
        ready = {item.id for route in table.models for item in route.replicas if item.state is ReplicaState.READY}
        self._withdrawn = {
            item.id: self._withdrawn.get(item.id, self._generation)
            for item in self._registry.all()
            if item.id not in ready
        }
        self._link.publish(table)
        for listener in self.on_table:
            listener(table)

    def _table(self) -> RoutingTable:
        for deployment in self._registry.all():
            if deployment.ready_at and deployment.started_at:
                self._load_seconds[deployment.model] = deployment.ready_at - deployment.started_at
        shared = self._around.shared() if self._around.shared is not None else None
        brings_up = self._auto_deploy and self._around.shared is None
        deployable: tuple[CatalogEntry, ...] = self._catalog.entries if brings_up else ()
        models = model_routes(
            self._targets.all(),
            self._registry.all(),
            self._catalog.find,
            self._load_seconds,
            deployable,
            self._clock.now(),
            self._around.lost(),
        )
        own_keys = tuple(
            KeyGrant(
                id=key.id,
                label=key.label,
                digest=key.digest,
                expires_at=key.expires_at,
                models=key.limits.models,
                requests_per_minute=key.limits.requests_per_minute,
                tokens_per_minute=key.limits.tokens_per_minute,
                concurrent_requests=key.limits.concurrent_requests,
            )
            for key in self._keys.active()
        )
        models = with_cache_blocks(models, lambda replica: self.kv_blocks(DeploymentId(replica)))
        settings = self._settings
        if shared is not None:
            settings = replace(settings, requests_per_minute=shared.requests_per_minute)
        return RoutingTable(
            epoch=self._epoch,
            generation=self._generation,
            models=with_own(shared.models, models, self._around.node) if shared is not None else models,
            keys=shared.keys if shared is not None else own_keys,
            settings=settings,
            node=self._around.node,
            peers=shared.peers if shared is not None else self._around.peers(),
            credential=self._around.credential(),
            control_metrics=self._metrics_text(),
            verdict=self.verdict(),
        )

    def _metrics_text(self) -> str:
        """Return control's part of `/metrics`. Where it is one that was made a moment ago, another table follows."""
        now = self._clock.monotonic()
        if self._metrics is None or now >= self._metrics[0]:
            text = self.control_metrics()
            took = self._clock.monotonic() - now
            self._metrics = (now + max(METRICS_SECONDS, METRICS_REST * took), text)
        elif self._metrics_due is None:
            self._metrics_due = asyncio.get_running_loop().call_later(self._metrics[0] - now, self._metrics_are_due)
        return self._metrics[1]

    def _metrics_are_due(self) -> None:
        self._metrics_due = None
        self._changed.set()

    def _take_report(self, report: GatewayReport) -> None:
        now = self._clock.monotonic()
        silent = [key for key, (at, _) in self._reports.items() if now - at > REPORT_FRESH_SECONDS]
        for key in silent:
            del self._reports[key]
        self._reports[report.gateway, report.pid] = (now, report)
        for listener in self._listeners:
            listener(report)
        self._reported.set()

    def wanted_models(self) -> dict[str, float]:
        """Return the models that do not run and were asked for here, with the time of the last request."""
        return _newest(report.wanted_models for report in self.reports())

    def key_last_used(self) -> dict[str, float]:
        """Return when each key was last used here, by its id."""
        return _newest(report.key_last_used for report in self.reports())

    async def act_on(self, wanted_models: Mapping[str, float], key_last_used: Mapping[str, float]) -> None:
        """Bring up what was asked for, where that is allowed, and note which keys were used: here, or on a worker."""
        if self._auto_deploy:
            for model, at in wanted_models.items():
                await self._bring_up(model, at)
        await self._keys.used(key_last_used)

    async def _act_on_reports(self) -> None:
        if self._around.shared is not None:
            return  # the control plane acts on them
        for report in self.reports():
            await self.act_on(report.wanted_models, report.key_last_used)

    async def _bring_up(self, model: str, at: float) -> None:
        """Deploy a model that was asked for at `at`. Gateways repeat what they heard once; each request counts once,
        so that a model which was removed afterwards stays away until it is asked for again."""
        now, before = self._clock.now(), self._brought_up.get(model, 0.0)
        if before > now:  # the clock was set back
            before = 0.0
        if at <= before or now - at > WANTED_FRESH_SECONDS:
            return
        await self._targets.want(model)
        self._brought_up[model] = at


def _newest(times: Iterable[Mapping[str, float]]) -> dict[str, float]:
    newest: dict[str, float] = {}
    for said in times:
        for name, at in said.items():
            newest[name] = max(at, newest.get(name, at))
    return newest


def _settings(api: ApiConfig) -> GatewaySettings:
    return GatewaySettings(cors_origins=api.cors, requests_per_minute=api.rate_limit, queue_limit=api.queue_limit)
