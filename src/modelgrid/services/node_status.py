"""What operators want of nodes: active, cordoned, draining."""

import asyncio
from collections.abc import Collection, Mapping

from modelgrid.domain.errors import PreconditionFailed
from modelgrid.domain.event import Subject
from modelgrid.domain.node import NodeStatus
from modelgrid.ports.clock import Clock
from modelgrid.ports.store import Store
from modelgrid.services.events import EventMaker, Notifier


class NodeStatusService:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._event = EventMaker(clock, Subject.NODE)
        self._statuses: Mapping[str, NodeStatus] = {}
        self._lock = asyncio.Lock()
        self.changed = Notifier()

    async def load(self) -> None:
        self._statuses = await self._store.node_status()

    def of(self, node: str) -> NodeStatus:
        return self._statuses.get(node, NodeStatus.ACTIVE)

    async def set(self, node: str, status: NodeStatus, *, by: str, expected: Collection[str] | None = None) -> None:
        """`expected`: raises `PreconditionFailed` unless the node has one of these statuses."""
        async with self._lock:
            present = self.of(node)
            if expected is not None and present.value not in expected:
                raise PreconditionFailed(
                    f"The node {node!r} is {present.value} now: somebody else changed it first.",
                    fix="Read it again and repeat the change.",
                    status=present.value,
                )
            if present is status:
                return
            event = self._event(node, status.value, f"node set to {status.value}", by=by)
            await self._store.set_node_status(node, status, events=[event])
            self._statuses = {**self._statuses, node: status}
        self.changed.notify()
