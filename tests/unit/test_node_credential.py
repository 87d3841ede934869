"""When a worker's gateways and its control process show its new credential."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from modelgrid.domain.cluster import SharedRouting
from modelgrid.domain.join_format import digest_of
from modelgrid.domain.routing import Peer
from modelgrid.ports.clock import Clock
from modelgrid.services.cluster.credential import NodeCredential


class HandClock(Clock):
    """`sleep` ends when the test says so."""

    def __init__(self) -> None:
        self.sleeping: asyncio.Future[None] | None = None

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.sleeping = asyncio.get_running_loop().create_future()
        await self.sleeping


class Rig:
    def __init__(self) -> None:
        self.clock = HandClock()
        self.published: list[str] = []
        self.used: list[str] = []
        self.credential = NodeCredential(
            "worker-a",
            "old",
            self.clock,
            to_gateways=lambda: self.published.append(self.credential.of_gateways),
            use=self.used.append,
        )

    async def settle(self, *, later: bool = False) -> None:
        """Let everything happen that can, and with `later` what waits for its time."""
        if later:
            assert self.clock.sleeping is not None, "nothing waits"
            self.clock.sleeping.set_result(None)
            self.clock.sleeping = None
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    running = asyncio.create_task(made.credential.run())
    yield made
    running.cancel()


def routing(*credentials: str, node: str = "worker-a") -> SharedRouting:
    peers = (Peer(node=node, host="h", port=1, certificate="", digest=digest_of(each)) for each in credentials)
    return SharedRouting(epoch=1, generation=1, peers=tuple(peers))


@pytest.mark.parametrize("heard_first", [False, True])
async def test_it_is_shown_to_nodes_that_were_told_of_it_and_last_to_the_control_plane(
    rig: Rig, heard_first: bool
) -> None:
    rig.credential.hear(routing("old", "new") if heard_first else routing("old"))
    rig.credential.offer("new")
    await rig.settle()
    if not heard_first:
        assert rig.clock.sleeping is None
        rig.credential.hear(routing("new", node="worker-b"))
        await rig.settle()
        assert rig.clock.sleeping is None, "another node's"
        rig.credential.hear(routing("old", "new"))
        await rig.settle()
    assert rig.credential.of_gateways == "old"
    await rig.settle(later=True)
    assert (rig.credential.of_gateways, rig.published, rig.used) == ("new", ["new"], [])
    await rig.settle(later=True)
    assert rig.used == ["new"]
    rig.credential.hear(routing("new"))
    await rig.settle()
    assert rig.clock.sleeping is None, "it is done"


async def test_an_offer_that_was_replaced_is_never_shown(rig: Rig) -> None:
    rig.credential.hear(routing("old", "lost"))
    rig.credential.offer("lost")
    await rig.settle()
    rig.credential.offer("new")
    rig.credential.hear(routing("old", "new"))
    await rig.settle(later=True)
    assert (rig.credential.of_gateways, rig.published) == ("old", [])
    await rig.settle(later=True)
    await rig.settle(later=True)
    assert (rig.published, rig.used) == (["new"], ["new"])
