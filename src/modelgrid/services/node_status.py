"""What operators want of nodes: active, cordoned, draining."""

import asyncio
from collections.abc import Callable, Collection, Mapping

import structlog

from modelgrid.decide.drain import drain_news
from modelgrid.domain.errors import ModelGridError, PreconditionFailed
from modelgrid.domain.event import Subject
from modelgrid.domain.node import NodeStatus
from modelgrid.ports.clock import Clock
from modelgrid.ports.store import Store
from modelgrid.services.events import EventMaker, Notifier

_LOOKED_AT = 200
"""Events of a node, newest first, among which the last one of its draining is looked for."""
_OF_A_DRAIN = {NodeStatus.DRAINING.value, "moved", "drained"}
RETRY_SECONDS = 1.0

log = structlog.get_logger()


class NodeStatusService:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._event = EventMaker(clock, Subject.NODE)
        self._statuses: Mapping[str, NodeStatus] = {}
        self._placed_then: dict[str, int] = {}
        self._left_told: dict[str, int] = {}
        """How many deployments a draining node had left when it was told of last."""
        self._moving = asyncio.Event()
        self._lock = asyncio.Lock()
        self.changed = Notifier()

    async def load(self) -> None:
        self._statuses = await self._store.node_status()
        for node, status in self._statuses.items():
            if status is NodeStatus.DRAINING:
                await self._recall(node)

    async def _recall(self, node: str) -> None:
        """Read what was told of its draining last. Where no such event is kept any more, nothing was placed there."""
        facts = await self._store.events(subject=Subject.NODE, subject_id=node, newest_first=True, limit=_LOOKED_AT)
        told = next((fact.data for fact in facts if fact.kind in _OF_A_DRAIN), {})
        placed, left = told.get("deployments"), told.get("left")
        self._placed_then[node] = placed if isinstance(placed, int) else 0
        if isinstance(left, int):
            self._left_told[node] = left

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
            self._left_told.pop(node, None)
        self._moving.set()
        self.changed.notify()

    def look(self) -> None:
        """Something moved that `tell_drains` may have to tell of."""
        if NodeStatus.DRAINING in self._statuses.values():
            self._moving.set()

    async def tell_drains(self, placed_on: Callable[[str], int]) -> None:
        """Write events of how far drains are, until cancelled. `placed_on`: how many deployments a node has now."""
        self._moving.set()
        while True:
            await self._moving.wait()
            self._moving.clear()
            try:
                for node in [node for node, status in self._statuses.items() if status is NodeStatus.DRAINING]:
                    await self._tell_drain(node, placed_on)
            except ModelGridError as error:
                log.warning("progress of a drain not written; tried again", error=str(error))
                await self._clock.sleep(RETRY_SECONDS)
                self._moving.set()

    async def _tell_drain(self, node: str, placed_on: Callable[[str], int]) -> None:
        async with self._lock:
            if self.of(node) is not NodeStatus.DRAINING:
                return
            placed, left = self._placed_then.get(node, 0), placed_on(node)
            news = drain_news(placed, self._left_told.get(node), left)
            if news is not None:
                event = self._event(node, news.kind, news.message, deployments=placed, left=left)
                await self._store.add_events([event])
                self._left_told[node] = left
