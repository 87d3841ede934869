"""How nodes that are behind hear of the routing: what is new where they can be told so, all where they cannot."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelgrid.decide.routing_change import with_change
from modelgrid.domain.cluster import SharedRouting
from modelgrid.domain.routing import KeyGrant, ModelRoute, ModelState, Peer, RoutingTable
from modelgrid.services.cluster.shared_routing import MOST_CHANGES, SharedRoutingService

OWN = Peer(node="control", host="h", port=1, certificate="", digest="0")


def table(number: int) -> RoutingTable:
    """A table whose models `m0` to `m9` are there always, and of which model `number` modulo 10 says its number."""
    models = tuple(
        ModelRoute(id=f"m{index}", names=(f"m{index}",), state=ModelState.READY, created=number - (number - index) % 10)
        for index in range(10)
    )
    return RoutingTable(epoch="t", generation=number, models=models, keys=(), peers=(OWN,))


def service() -> SharedRoutingService:
    return SharedRoutingService(cast("Any", SimpleNamespace(all=tuple)), lambda: OWN, epoch=5)


def ask(shared: SharedRoutingService, known: SharedRouting, *, changes: bool = True) -> SharedRouting | None:
    return asyncio.run(shared.newer(known.epoch, known.generation, wait_seconds=0.01, changes=changes))


def following(shared: SharedRoutingService, known: SharedRouting) -> SharedRouting:
    said = ask(shared, known)
    return with_change(known, said) if said is not None else known


@pytest.mark.parametrize("behind", [1, 2, 7, MOST_CHANGES, MOST_CHANGES + 1, 3 * MOST_CHANGES])
def test_however_far_behind_a_node_is_it_knows_all_at_once(behind: int) -> None:
    shared = service()
    shared.take(table(100))
    known = following(shared, SharedRouting(epoch=0, generation=0))
    assert known == shared.present
    for number in range(101, 101 + behind):
        shared.take(table(number))
    said = ask(shared, known)
    assert said is not None
    assert bool(said.since) is (behind <= MOST_CHANGES)
    assert len(said.models) == (min(behind, 10) if said.since else 10)
    assert with_change(known, said) == shared.present
    assert ask(shared, shared.present) is None, "nothing is new to who knows all"


def test_what_says_nothing_new_is_not_told() -> None:
    shared = service()
    shared.take(table(1))
    shared.take(replace(table(1), generation=9, control_metrics="other"))
    assert shared.present.generation == 1


def test_who_does_not_understand_changes_gets_all() -> None:
    shared = service()
    shared.take(table(1))
    known = following(shared, SharedRouting(epoch=0, generation=0))
    shared.take(table(2))
    assert ask(shared, known, changes=False) == shared.present


def test_who_followed_an_earlier_control_plane_gets_all() -> None:
    shared = service()
    shared.take(table(1))
    shared.take(table(2))
    said = ask(shared, SharedRouting(epoch=4, generation=1))
    assert said == shared.present


def test_what_is_gone_is_said() -> None:
    shared = service()
    first = replace(table(1), keys=(KeyGrant(id="k", label="", digest="d"),))
    shared.take(first)
    known = following(shared, SharedRouting(epoch=0, generation=0))
    shared.take(replace(first, keys=(), models=first.models[1:]))
    said = ask(shared, known)
    assert said is not None
    assert (said.gone_keys, said.gone_models, said.models) == (("k",), ("m0",), ())
    assert with_change(known, said) == shared.present


def test_who_waits_is_let_go_at_the_end() -> None:
    """Or the server would break off what it holds, and log each as a failure."""

    async def held() -> SharedRouting | None:
        shared = service()
        waiting = asyncio.create_task(shared.newer(5, 0, wait_seconds=60.0))
        await asyncio.sleep(0)
        shared.close()
        assert await shared.newer(5, 0, wait_seconds=60.0) is None
        async with asyncio.timeout(1):
            return await waiting

    assert asyncio.run(held()) is None
