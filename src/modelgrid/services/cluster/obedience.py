"""Brings a node's own rows in line with its orders."""

import asyncio
import json
from collections.abc import Collection

import structlog

from modelgrid.decide.assignment import accepted, dismissed, fenced, obeyed
from modelgrid.domain.cluster import Order, Orders
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.errors import NotFound
from modelgrid.domain.event import Subject
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.target import EngineSpec
from modelgrid.ports.clock import Clock
from modelgrid.ports.store import Store
from modelgrid.services.events import EventMaker
from modelgrid.services.failpoints import failpoint
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetService

_EXCLUSIVE = "exclusive_deployments"

log = structlog.get_logger()


class Obedience:
    """The one that creates and dismisses deployments on a worker; what becomes of them is their keepers' matter."""

    def __init__(self, registry: DeploymentRegistry, targets: TargetService, clock: Clock, store: Store) -> None:
        self._store = store
        self._registry = registry
        self._targets = targets
        self._clock = clock
        self._event = EventMaker(clock, Subject.DEPLOYMENT)
        self._exclusive: frozenset[DeploymentId] = frozenset()
        self.entries: dict[str, CatalogEntry] = {}
        """What the control plane's catalog says of the models that are ordered here, by id."""

    async def load(self) -> None:
        """Read which deployments are exclusive: a node that starts cut off has to know it."""
        stored = await self._store.settings([_EXCLUSIVE])
        self._exclusive = frozenset(map(DeploymentId, json.loads(stored.get(_EXCLUSIVE, "[]"))))

    def is_exclusive(self, deployment: DeploymentId) -> bool:
        return deployment in self._exclusive

    async def obey(self, orders: Orders, known_to_control: Collection[DeploymentId]) -> None:
        """Take orders over. Safe to repeat, also after a crash half-way.

        Rows that no order names are dismissed if they are `known_to_control`: it was told of them and does not want
        them. Others it may not have heard of yet."""
        self.entries = {order.model: order.entry for order in orders.orders if order.entry is not None}
        await self._remember_exclusive(frozenset(order.id for order in orders.orders if order.exclusive))
        for order in orders.orders:
            await self._obey(order)
        ordered = {order.id for order in orders.orders}
        for row in self._registry.all():
            if row.id not in ordered and row.id in known_to_control:
                await self._dismiss(row.id, "not assigned to this node any more")

    async def stop_exclusive(self) -> tuple[DeploymentId, ...]:
        """End what may run here only while the control plane knows of it; return what that was."""
        now, reason = self._clock.now(), "this node is cut off from its control plane"
        stopped = []
        for row in self._registry.all():
            if row.id not in self._exclusive or fenced(row, reason, now) == row:
                continue
            event = self._event(row.id, "fenced", reason)
            await self._registry.change(row.id, lambda present: fenced(present, reason, now), [event])
            stopped.append(row.id)
        return tuple(stopped)

    async def _remember_exclusive(self, exclusive: frozenset[DeploymentId]) -> None:
        if exclusive != self._exclusive:
            await self._store.put_setting(_EXCLUSIVE, json.dumps(sorted(exclusive)))
            self._exclusive = exclusive

    async def _obey(self, order: Order) -> None:
        present = self._registry.find(order.id)
        if present is None:
            if order.intent is Intent.REMOVE:
                return
            spec = await asyncio.to_thread(self._sealed, order)
            event = self._event(order.id, "assigned", f"by the control plane, for target {order.target}")
            await self._store.forget_history(order.id)  # it was here before, and is back
            await self._registry.create(accepted(order, spec), [event])
            failpoint("assigned")
            log.info("deployment assigned", deployment=order.id, decision=order.placement.decision.summary)
            return
        changed = obeyed(present, order)
        if changed == present:
            return
        said = order.intent_reason or order.intent.value
        event = self._event(order.id, f"{order.intent}_ordered", said, by=order.intent_by)
        await self._registry.change(order.id, lambda row: obeyed(row, order), [event])
        failpoint("obeyed")

    def _sealed(self, order: Order) -> EngineSpec:
        return self._targets.sealed(order.spec)

    async def _dismiss(self, deployment: DeploymentId, reason: str) -> None:
        now = self._clock.now()

        def leaving(row: Deployment) -> Deployment:
            return dismissed(row, reason, now)

        try:
            await self._registry.change(deployment, leaving, [self._event(deployment, "remove_decided", reason)])
        except NotFound:
            return
        log.info("deployment dismissed", deployment=deployment, reason=reason)
