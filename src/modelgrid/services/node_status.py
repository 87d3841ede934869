"""What operators want of nodes: active, cordoned, draining."""

from collections.abc import Mapping

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
        self.changed = Notifier()

    async def load(self) -> None:
        self._statuses = await self._store.node_status()

    def of(self, node: str) -> NodeStatus:
        return self._statuses.get(node, NodeStatus.ACTIVE)

    async def set(self, node: str, status: NodeStatus, *, by: str) -> None:
        if self.of(node) is status:
            return
        event = self._event(node, status.value, f"node set to {status.value}", by=by)
        await self._store.set_node_status(node, status, events=[event])
        self._statuses = {**self._statuses, node: status}
        self.changed.notify()
