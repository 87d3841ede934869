"""What operators want of nodes: active, cordoned, draining."""

import asyncio
from collections.abc import Collection, Mapping

from modelgrid.domain.errors import PreconditionFailed
from modelgrid.domain.event import Subject
from modelgrid.domain.node import NodeStatus
from modelgrid.ports.clock import Clock
from modelgrid.ports.store import Store
from modelgrid.services.events import EventMaker, Notifier

_LOOKED_AT = 200
"""Events of a node, newest first, among which that of its draining is looked for."""


class NodeStatusService:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._event = EventMaker(clock, Subject.NODE)
        self._statuses: Mapping[str, NodeStatus] = {}
        self._placed_then: dict[str, int] = {}
        self._lock = asyncio.Lock()
        self.changed = Notifier()

    async def load(self) -> None:
        self._statuses = await self._store.node_status()
        for node, status in self._statuses.items():
            if status is NodeStatus.DRAINING:
                self._placed_then[node] = await self._told(node)

    async def _told(self, node: str) -> int:
        """What the event of its draining says was placed there; 0 when that event is no longer kept."""
        facts = await self._store.events(subject=Subject.NODE, subject_id=node, newest_first=True, limit=_LOOKED_AT)
        told = next((fact.data.get("deployments") for fact in facts if fact.kind == NodeStatus.DRAINING.value), None)
        return told if isinstance(told, int) else 0

    def of(self, node: str) -> NodeStatus:
        return self._statuses.get(node, NodeStatus.ACTIVE)

    def placed_when_drained(self, node: str) -> int | None:
        """How many deployments were on the node when its draining began; `None` while it is not drained."""
        return self._placed_then.get(node) if self.of(node) is NodeStatus.DRAINING else None

    async def set(
        self, node: str, status: NodeStatus, *, by: str, placed: int = 0, expected: Collection[str] | None = None
    ) -> None:
        """`placed`: how many deployments are on it now. `expected`: raises `PreconditionFailed` unless the node has one
        of these statuses."""
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
            event = self._event(node, status.value, f"node set to {status.value}", by=by, deployments=placed)
            await self._store.set_node_status(node, status, events=[event])
            self._statuses = {**self._statuses, node: status}
            self._placed_then[node] = placed
        self.changed.notify()
