"""How far the draining of a node is, and that a restart does not forget it."""

from memory_store import MemoryStore

from modelgrid.adapters.clock_system import SystemClock
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
