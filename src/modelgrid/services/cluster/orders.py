"""What each node is to do: its orders, made anew when something in them changed, and who waits for them."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from modelgrid.decide.assignment import order_of
from modelgrid.domain.cluster import Order, Orders
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.ids import DeploymentId, NodeName
from modelgrid.domain.node import NodeStatus
from modelgrid.services.catalog import CatalogService
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetService


class OrderBook:
    """One page per node. `epoch` is the start of this control plane in nanoseconds."""

    def __init__(
        self,
        *,
        registry: DeploymentRegistry,
        targets: TargetService,
        catalog: CatalogService,
        status_of: Callable[[NodeName], NodeStatus],
        epoch: int,
        heartbeat_seconds: float,
        console_url: str = "",
    ) -> None:
        self._registry = registry
        self._targets = targets
        self._catalog = catalog
        self._status_of = status_of
        self.epoch = epoch
        self._heartbeat_seconds = heartbeat_seconds
        self._console_url = console_url
        self._places: dict[DeploymentId, NodeName] = {}
        self._on_node: defaultdict[NodeName, set[DeploymentId]] = defaultdict(set)
        self._pages: dict[NodeName, Orders] = {}
        self._removals: defaultdict[NodeName, dict[DeploymentId, int]] = defaultdict(dict)
        """Sequence of the first orders that removed a deployment, by node."""
        self._exclusive: set[str] = set()
        """Names of targets that are."""
        self._stale: set[NodeName] = set()
        self._changed: dict[NodeName, asyncio.Event] = {}
        self._closed = False

    def start(self) -> None:
        """Follow the registry and the targets from now on."""
        for deployment in self._registry.all():
            self._follow(deployment.id)
        self._registry.on_change(self._follow)
        self._targets.changed.listen(self._targets_changed)

    def _targets_changed(self) -> None:
        """Of targets orders say only whether they are exclusive."""
        exclusive = {target.name for target in self._targets.all() if target.constraints.exclusive}
        if exclusive != self._exclusive:
            self._exclusive = exclusive
            self.all_changed()

    def all_changed(self) -> None:
        """Something changed that may be in anybody's orders."""
        self._stale |= {*self._pages, *self._on_node}
        for waiting in self._changed.values():
            waiting.set()

    def of(self, node: NodeName) -> Orders:
        """Return the node's orders as of now. Their sequence rises when, and only when, they say something else."""
        page = self._pages.get(node)
        if page is None or node in self._stale:
            self._stale.discard(node)
            page = self._pages[node] = self._written(node, page)
        return page

    async def newer(self, node: NodeName, epoch: int, sequence: int, *, wait_seconds: float) -> Orders | None:
        """Return the node's orders as soon as they are newer than those it has; `None` when nothing came in time."""
        try:
            async with asyncio.timeout(wait_seconds):
                while not self._closed:
                    changed = self._changed.setdefault(node, asyncio.Event())
                    changed.clear()
                    orders = self.of(node)
                    if (orders.epoch, orders.sequence) != (epoch, sequence):
                        return orders
                    await changed.wait()
                    if self._changed.get(node) is not changed:  # it is no member any more
                        break
        except TimeoutError:
            pass
        return None

    def close(self) -> None:
        """Let those go who wait for news: none come any more."""
        self._closed = True
        for waiting in self._changed.values():
            waiting.set()

    def has_removed(self, node: NodeName, deployment: DeploymentId, obeyed: tuple[int, int]) -> bool:
        """Whether a node that has obeyed `obeyed` (epoch, sequence) knows that it is to remove a deployment."""
        since = self._removals[node].get(deployment)
        return since is not None and obeyed[0] == self.epoch and obeyed[1] >= since

    def on(self, node: NodeName) -> tuple[DeploymentId, ...]:
        """Return the deployments that are placed on a node."""
        return tuple(self._on_node[node])

    def forget(self, node: NodeName) -> None:
        """The node is no member any more."""
        self._pages.pop(node, None)
        self._removals.pop(node, None)
        if (waiting := self._changed.pop(node, None)) is not None:
            waiting.set()
        self._stale.discard(node)

    def _follow(self, deployment: DeploymentId) -> None:
        found = self._registry.find(deployment)
        place = found.placement.node if found is not None and found.placement is not None else None
        before = self._places.pop(deployment, None)
        if before is not None:
            self._on_node[before].discard(deployment)
        if place is not None:
            self._places[deployment] = place
            self._on_node[place].add(deployment)
        for node in filter(None, {before, place}):
            self._stale.add(node)
            if waiting := self._changed.get(node):
                waiting.set()

    def _written(self, node: NodeName, before: Orders | None) -> Orders:
        rows = (self._registry.find(item) for item in sorted(self._on_node[node]))
        orders = tuple(self._order(row) for row in rows if row is not None)
        page = Orders(
            node=node,
            epoch=self.epoch,
            sequence=before.sequence if before else 1,
            status=self._status_of(node),
            orders=orders,
            heartbeat_seconds=self._heartbeat_seconds,
            console_url=self._console_url,
        )
        if before is not None and page != before:
            page = replace(page, sequence=before.sequence + 1)
        removed = [order.id for order in orders if order.intent is Intent.REMOVE]
        known = self._removals[node]
        self._removals[node] = {item: known.get(item, page.sequence) for item in removed}
        return page

    def _order(self, row: Deployment) -> Order:
        target = self._targets.find(row.target)
        exclusive = target is not None and target.constraints.exclusive
        spec = replace(row.spec, env=self._targets.opened_env(row.spec))
        return order_of(row, spec, exclusive=exclusive, entry=self._catalog.find(row.model))
