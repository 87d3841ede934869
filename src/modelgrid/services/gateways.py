"""Control's side of the gateways: sends routing tables down, takes reports in."""

import asyncio
from pathlib import Path

import structlog

from modelgrid.config.model import ApiConfig
from modelgrid.decide.routing_table import model_routes
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.routing import GatewayReport, GatewaySettings, KeyGrant, RoutingTable
from modelgrid.gateway.link import ControlLink
from modelgrid.ports.clock import Clock
from modelgrid.services.api_keys import ApiKeyService
from modelgrid.services.catalog import CatalogService
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetService

REPORT_FRESH_SECONDS = 3.0

log = structlog.get_logger()


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
    ) -> None:
        self._link = ControlLink(socket_path, self._take_report)
        self._epoch = epoch
        self._registry = registry
        self._targets = targets
        self._keys = keys
        self._catalog = catalog
        self._clock = clock
        self._settings = GatewaySettings(cors_origins=api.cors, requests_per_minute=api.rate_limit)
        self._auto_deploy = auto_deploy
        self._generation = 0
        self._changed = asyncio.Event()
        self._reports: dict[str, tuple[float, GatewayReport]] = {}
        self._reported = asyncio.Event()

    async def start(self) -> None:
        """Listen for gateways and publish the first table."""
        await self._link.start()
        self._publish()
        self._registry.on_change(lambda _: self._changed.set())
        self._targets.changed.listen(self._changed.set)
        self._keys.changed.listen(self._changed.set)

    async def run(self) -> None:
        """Publish on change and every 10 s, and act on reports, until cancelled."""
        while True:
            changed = asyncio.create_task(self._changed.wait())
            reported = asyncio.create_task(self._reported.wait())
            done, waiting = await asyncio.wait({changed, reported}, timeout=10.0, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
            if changed in done or not done:
                self._changed.clear()
                self._publish()
            if reported in done:
                self._reported.clear()
                await self._act_on_reports()

    async def close(self) -> None:
        await self._link.close()

    def reports(self) -> tuple[GatewayReport, ...]:
        """Return the newest report of each gateway that is connected and reports."""
        now = self._clock.monotonic()
        return tuple(report for at, report in self._reports.values() if now - at <= REPORT_FRESH_SECONDS)

    def in_flight(self, deployment: DeploymentId) -> int | None:
        """Return the requests running on a replica; `None` unless every fresh report is of the newest table."""
        fresh = self.reports()
        if not fresh or any((r.epoch, r.generation) != (self._epoch, self._generation) for r in fresh):
            return None
        return sum(outcome.in_flight for r in fresh for outcome in r.outcomes if outcome.replica == deployment)

    def _publish(self) -> None:
        self._generation += 1
        self._link.publish(self._table())

    def _table(self) -> RoutingTable:
        deployable: tuple[CatalogEntry, ...] = self._catalog.entries if self._auto_deploy else ()
        models = model_routes(
            self._targets.all(),
            self._registry.all(),
            self._catalog.find,
            {d.model: d.ready_at - d.started_at for d in self._registry.all() if d.ready_at and d.started_at},
            deployable,
            self._clock.now(),
        )
        keys = tuple(
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
        return RoutingTable(
            epoch=self._epoch,
            generation=self._generation,
            models=models,
            keys=keys,
            settings=self._settings,
        )

    def _take_report(self, report: GatewayReport) -> None:
        self._reports[report.gateway] = (self._clock.monotonic(), report)
        self._reported.set()

    async def _act_on_reports(self) -> None:
        for report in self.reports():
            await self._keys.used(report.key_last_used)
            if self._auto_deploy:
                for model in report.wanted_models:
                    await self._targets.want(model)
