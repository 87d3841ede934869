"""What travels on the port for nodes: packed where it is large and the other side takes it so."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import httpx
import msgspec
import pytest

from modelgrid.api.cluster import PACKED_FROM, ControlPlaneApi, create_cluster_app
from modelgrid.domain.cluster import SharedRouting
from modelgrid.domain.ids import NodeName
from modelgrid.domain.routing import KeyGrant, ModelRoute, ModelState, Peer, RoutingTable
from modelgrid.services.cluster.shared_routing import SharedRoutingService

OWN = Peer(node="control", host="h", port=1, certificate="", digest="0")
MODELS = tuple(
    ModelRoute(id=f"model-{number:04d}", names=(f"model-{number:04d}",), state=ModelState.READY, created=1)
    for number in range(1_000)
)
ALL = "epoch=0&generation=0"


def table(label: str, generation: int) -> RoutingTable:
    key = KeyGrant(id="k", label=label, digest="d")
    return RoutingTable(epoch="t", generation=generation, models=MODELS, keys=(key,), peers=(OWN,))


class Fleet:
    """A control plane of one node, as far as routing goes."""

    def __init__(self) -> None:
        async def authenticate(_: str) -> NodeName:
            return NodeName("worker")

        self.routing = SharedRoutingService(cast("Any", SimpleNamespace(all=tuple)), lambda: OWN, epoch=5)
        control = SimpleNamespace(members=SimpleNamespace(authenticate=authenticate, joined_at=lambda _: 1.0))
        api = ControlPlaneApi(
            control=cast("Any", control), routing=self.routing, heartbeat_seconds=5.0, name=NodeName("control")
        )
        self._app = create_cluster_app(cast("Any", None), lambda _: None, api)

    def ask(self, query: str, encoding: str = "gzip") -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(cast("Any", self._app))
            async with httpx.AsyncClient(transport=transport, base_url="https://control") as client:
                return await client.get(f"/v1/_cluster/routing?{query}", headers={"Accept-Encoding": encoding})

        return asyncio.run(asked())


@pytest.fixture
def fleet() -> Fleet:
    made = Fleet()
    made.routing.take(table("old", 1))
    return made


def test_all_of_the_routing_is_packed_for_who_takes_it_so(fleet: Fleet) -> None:
    packed, plain = fleet.ask(ALL), fleet.ask(ALL, "identity")
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content, "httpx has unpacked it"
    assert int(packed.headers["content-length"]) < PACKED_FROM < int(plain.headers["content-length"])
    assert msgspec.json.decode(plain.content, type=SharedRouting) == fleet.routing.present


def test_what_is_new_is_small_and_for_those_alone_who_ask_for_it(fleet: Fleet) -> None:
    known = fleet.routing.present
    fleet.routing.take(table("new", 2))
    query = f"epoch={known.epoch}&generation={known.generation}"
    news = fleet.ask(f"{query}&changes=1")
    assert "content-encoding" not in news.headers
    said = msgspec.json.decode(news.content, type=SharedRouting)
    assert (said.since, said.models, [key.label for key in said.keys]) == (known.generation, (), ["new"])
    for without in (query, f"{ALL}&changes=1"):
        assert msgspec.json.decode(fleet.ask(without).content, type=SharedRouting) == fleet.routing.present
