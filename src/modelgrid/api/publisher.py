"""Publishes what changes on the stream, as the same views that the REST answers show.

Each change of a deployment and each event is published at once. All else is a gauge, of which the newest value counts:
looked at when something it depends on changed, or once a second, and published when it differs. What nobody listens to
is not computed.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from modelgrid.api.access import api_key_view
from modelgrid.api.catalog import catalog_list
from modelgrid.api.config import config_view
from modelgrid.api.context import Services
from modelgrid.api.deployments import deployment_view
from modelgrid.api.events import event_view
from modelgrid.api.logs import LogRecordView, record_view
from modelgrid.api.membership import cluster_view
from modelgrid.api.metrics import deployment_metrics_view
from modelgrid.api.nodes import gpu_views, node_view
from modelgrid.api.overview import overview_view
from modelgrid.api.targets import PlacementRow, TargetView, by_name, by_target, placement_row, target_view
from modelgrid.domain.event import Event, Level, Subject
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.log import LogRecord
from modelgrid.services.stream.hub import Op
from modelgrid.services.stream.wish import DEPLOYMENT

GAUGE_SECONDS = 1.0
SETTLE_SECONDS = 0.1
"""What depends on many deployments is computed anew once after a burst of changes."""
SELDOM = 5
"""What moves all the time, heartbeats of nodes and rates of deployments, is sent once in so many looks."""


class Publisher:
    """`start` listens to the services; `run` looks at the gauges."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._hub = services.hub
        self._known: dict[str, Mapping[str, object]] = {}
        """The rows of each collection that were published, by key, each with the fact it was made of."""
        self._live: dict[DeploymentId, tuple[object, ...]] = {}
        self._rates: dict[DeploymentId, tuple[str, str]] = {}
        """What was last shown of the traffic of each deployment."""
        self._dirty: set[str] = set()
        """Targets whose views have changed."""
        self._settling: asyncio.TimerHandle | None = None

    def start(self) -> None:
        services = self._services
        # What is there is known from the start, so that the first of it that goes is published as gone.
        self._publish_targets()
        self._publish_nodes()
        self._publish_keys()
        services.registry.on_change(self._deployment_changed)
        services.store.on_events(self._events_stored)
        services.targets.changed.listen(self._targets_changed)
        services.node_status.changed.listen(self._publish_nodes)
        services.keys.changed.listen(self._publish_keys)
        services.logs.listen(self._publish_records)
        services.metrics.on_sample(self._publish_metrics)
        services.settings.changed.listen(self._publish_config)

    async def run(self) -> None:
        """Look at the gauges every second until cancelled."""
        looks = 0
        while True:
            await self._services.clock.sleep(GAUGE_SECONDS)
            self._publish_overview()
            self._publish_gpus()
            self._publish_progress()
            self._publish_keys()
            self._publish_catalog()
            if looks % SELDOM == 0:
                self._publish_nodes()
                self._publish_rates()
            looks += 1

    def _deployment_changed(self, deployment_id: DeploymentId) -> None:
        item = self._services.registry.find(deployment_id)
        if item is None:
            self._live.pop(deployment_id, None)
            self._rates.pop(deployment_id, None)
            self._hub.publish("deployments", "remove", deployment_id, lambda: None)
            self._targets_changed()
        else:
            self._hub.publish("deployments", "upsert", item.id, partial(deployment_view, self._services, item))
            self._dirty.add(item.target)
            self._settle_soon()

    def _events_stored(self, events: tuple[Event, ...]) -> None:
        for event in events:
            if event.subject is Subject.DEPLOYMENT:
                topic = f"{DEPLOYMENT}{event.subject_id}"
                self._hub.publish(topic, "append", "event", partial(event_view, event))

    def _publish_records(self, records: Sequence[LogRecord]) -> None:
        """Publish a batch in one change per source and level, since streams are filtered by these."""
        if not self._hub.heard("logs"):
            return
        groups: defaultdict[tuple[str, Level], list[LogRecordView]] = defaultdict(list)
        for record in records:
            groups[record.source, record.level].append(record_view(record))
        for (source, level), views in groups.items():
            self._hub.publish("logs", "append", source, partial(list, views), source=source, level=level)

    def _publish_metrics(self) -> None:
        """Publish the figures of engines of this node; those of others are asked of theirs (`api.elsewhere`)."""
        services = self._services
        for item in services.registry.all():
            topic = f"{DEPLOYMENT}{item.id}"
            here = item.placement is None or item.placement.node == services.node_name
            if here and self._hub.heard(topic):
                self._hub.publish(
                    topic, "replace", "metrics", partial(deployment_metrics_view, services, item.id), gauge=True
                )

    def _publish_config(self) -> None:
        self._hub.publish("config", "replace", "config", partial(config_view, self._services.settings), gauge=True)

    def _targets_changed(self) -> None:
        self._settle_soon()

    def _settle_soon(self) -> None:
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._publish_targets)

    def _publish_targets(self) -> None:
        services, self._settling = self._services, None
        dirty, self._dirty = self._dirty, set()
        targets = {target.name: target for target in services.targets.all()}
        own, nodes = by_target(services), by_name(services)

        def view(name: str) -> TargetView:
            return target_view(services, targets[name], own.get(name, ()), nodes)

        def row(name: str) -> PlacementRow:
            return placement_row(services, targets[name], own.get(name, ()))

        self._publish_rows("targets", targets, view, dirty)
        self._publish_rows("placements", targets, row, dirty)

    def _publish_keys(self) -> None:
        now = self._services.clock.now()
        views = {key.id: api_key_view(key, now) for key in self._services.keys.all()}
        self._publish_rows("apikeys", views, views.__getitem__)

    def _publish_nodes(self) -> None:
        nodes = {str(node.name): node for node in self._services.nodes()}
        self._publish_rows("nodes", nodes, lambda name: node_view(self._services, nodes[name]), nodes.keys())

    def _publish_gpus(self) -> None:
        if self._hub.heard("gpus"):
            views = {view.id: view for view in gpu_views(self._services)}
            self._publish_rows("gpus", views, views.__getitem__, views.keys())

    def _publish_overview(self) -> None:
        self._hub.publish("overview", "replace", "overview", lambda: overview_view(self._services), gauge=True)
        self._hub.publish("overview", "replace", "cluster", lambda: cluster_view(self._services), gauge=True)

    def _publish_catalog(self) -> None:
        catalog = self._services.catalog
        facts = {"catalog": (catalog.entries, catalog.sources)}
        self._publish_rows("catalog", facts, lambda _: catalog_list(self._services), op="replace")

    def _publish_progress(self) -> None:
        """Publish what engines that come up say of themselves; nobody tells when that changes."""
        services = self._services
        for item in services.registry.all():
            live = services.live.of(item.id)
            said = (live.pull, live.phase, live.not_ready_because, live.trouble)
            if self._live.get(item.id) != said:
                self._live[item.id] = said
                self._hub.publish(
                    "deployments", "upsert", item.id, partial(deployment_view, services, item), gauge=True
                )
                self._dirty.add(item.target)
                self._settle_soon()

    def _publish_rates(self) -> None:
        """Publish deployments whose traffic differs by what one would see: two digits of it."""
        services = self._services
        for item in services.registry.all():
            flow = services.metrics.flow_of(item.id)
            shown = (f"{flow.requests_per_second:.2g}", f"{flow.error_ratio or 0:.2g}") if flow else ("", "")
            if self._rates.get(item.id, ("", "")) != shown:
                self._rates[item.id] = shown
                self._hub.publish(
                    "deployments", "upsert", item.id, partial(deployment_view, services, item), gauge=True
                )

    def _publish_rows(
        self,
        topic: str,
        facts: Mapping[str, object],
        view: Callable[[str], object],
        dirty: Collection[str] = (),
        op: Op = "upsert",
    ) -> None:
        """Publish the rows whose facts differ from the last time or that are `dirty`, and the absence of those gone."""
        known, self._known[topic] = self._known.get(topic, {}), facts
        changed = [key for key, fact in facts.items() if key in dirty or known.get(key) != fact]
        gone = [key for key in known if key not in facts]
        if (changed or gone) and self._hub.heard(topic):
            for key in changed:
                self._hub.publish(topic, op, key, partial(view, key), gauge=True)
            for key in gone:
                self._hub.publish(topic, "remove", key, lambda: None, gauge=True)
