"""How far the draining of a node is, what is told of it, and that a restart does not forget it."""

import asyncio

import pytest
from memory_store import MemoryStore

from modelgrid.adapters.clock_system import SystemClock
from modelgrid.decide.drain import drain_news
from modelgrid.domain.event import Subject
from modelgrid.domain.node import NodeStatus
from modelgrid.services.node_status import NodeStatusService

NODE = "worker-a"


async def test_a_node_that_is_drained_tells_what_was_on_it_then_also_after_a_restart() -> None:
    store = MemoryStore()
    statuses = NodeStatusService(store, SystemClock())
    await statuses.set(NODE, NodeStatus.DRAINING, by="somebody", placed=5)
    again = NodeStatusService(store, SystemClock())
    await again.load()
    assert statuses.placed_when_drained(NODE) == again.placed_when_drained(NODE) == 5


async def test_only_while_it_is_drained_and_anew_each_time() -> None:
    statuses = NodeStatusService(MemoryStore(), SystemClock())
    await statuses.set(NODE, NodeStatus.DRAINING, by="somebody", placed=5)
    await statuses.set(NODE, NodeStatus.ACTIVE, by="somebody", placed=2)
    assert statuses.placed_when_drained(NODE) is None
    await statuses.set(NODE, NodeStatus.DRAINING, by="somebody", placed=3)
    assert statuses.placed_when_drained(NODE) == 3
    assert statuses.placed_when_drained("another") is None


class Drain:
    """A node that has `left` deployments, and what is told of its draining."""

    def __init__(self, store: MemoryStore, left: int) -> None:
        self.store, self.left = store, left
        self.statuses = NodeStatusService(store, SystemClock())

    async def told(self) -> list[tuple[str, str]]:
        """Let it look once, and return all that was told of the node so far."""
        looking = asyncio.create_task(self.statuses.tell_drains(lambda _: self.left))
        for _ in range(20):
            await asyncio.sleep(0)
        looking.cancel()
        events = await self.store.events(subject=Subject.NODE, subject_id=NODE)
        return [(event.kind, event.message) for event in events]

    def restarted(self) -> "Drain":
        return Drain(self.store, self.left)


async def test_a_drain_is_told_as_it_goes_and_each_step_once() -> None:
    drain = Drain(MemoryStore(), left=3)
    await drain.statuses.set(NODE, NodeStatus.DRAINING, by="somebody", placed=3)
    began = ("draining", "node set to draining")
    assert await drain.told() == [began]
    drain.left = 2
    first = ("moved", "moved 1 of 3")
    assert await drain.told() == [began, first]
    drain = drain.restarted()
    await drain.statuses.load()
    assert await drain.told() == [began, first], "a restart tells nothing again"
    assert drain.statuses.placed_when_drained(NODE) == 3
    drain.left = 0
    last = ("drained", "drained: moved 3 of 3, nothing is left here")
    assert await drain.told() == [began, first, last]
    assert await drain.told() == [began, first, last]


async def test_what_moves_from_a_node_that_is_not_drained_is_not_told() -> None:
    drain = Drain(MemoryStore(), left=3)
    await drain.statuses.set(NODE, NodeStatus.DRAINING, by="somebody", placed=3)
    await drain.statuses.set(NODE, NodeStatus.ACTIVE, by="somebody", placed=3)
    drain.left = 0
    assert [kind for kind, _ in await drain.told()] == ["draining", "active"]


async def test_a_move_is_told_when_it_happens() -> None:
    drain = Drain(MemoryStore(), left=1)
    await drain.statuses.set(NODE, NodeStatus.DRAINING, by="somebody", placed=1)
    running = asyncio.create_task(drain.statuses.tell_drains(lambda _: drain.left))
    for left in (1, 0):
        drain.left = left
        drain.statuses.look()
        for _ in range(20):
            await asyncio.sleep(0)
    events = await drain.store.events(subject=Subject.NODE, subject_id=NODE)
    assert [event.kind for event in events] == ["draining", "drained"]
    running.cancel()


@pytest.mark.parametrize(
    ("placed", "told", "left", "kind"),
    [
        (3, None, 3, None),
        (3, None, 2, "moved"),
        (3, 2, 2, None),
        (3, 1, 2, None),  # one came back: no progress is taken back
        (3, 2, 0, "drained"),
        (3, 0, 0, None),
        (0, None, 0, "drained"),
        (0, None, 2, None),  # how many there were is not known any more
    ],
)
def test_what_is_new_of_a_drain(placed: int, told: int | None, left: int, kind: str | None) -> None:
    news = drain_news(placed, told, left)
    assert (news.kind if news is not None else None) == kind
