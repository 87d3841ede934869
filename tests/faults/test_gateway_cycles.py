"""Connections that ended are gone at once: the collector of cycles, which looks seldom, finds nothing of them."""

import asyncio
import gc
from collections import Counter

from gateway_kit import Client, Upstream, answers, grant, model, request
from httptools.parser import parser

from modelgrid.domain.routing import Replica, RoutingTable
from modelgrid.gateway.core import Core
from modelgrid.gateway.protocol import ClientConnection
from modelgrid.gateway.reader import RequestReader
from modelgrid.gateway.upstream import UpstreamConnection

TIMES = 10
PARTS = (ClientConnection, RequestReader, UpstreamConnection, parser.HttpRequestParser, parser.HttpResponseParser)
WHOLE = request("POST", "/v1/chat/completions", {"model": "m"})
SENT = {"an answer": WHOLE, "half a head": WHOLE[:30], "an attack": b"GET / HTTP/1.1\r\n\r\n", "nothing": b""}


def alive() -> Counter[str]:
    return Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, PARTS))


async def test_connections_leave_nothing_to_the_collector() -> None:
    loop = asyncio.get_running_loop()
    core = Core(loop, 0)
    gc.collect()
    gc.disable()
    try:
        async with Upstream(answers) as upstream:
            routes = (model("m", [upstream.replica()]),)
            core.apply(RoutingTable(epoch="e", generation=1, models=routes, keys=(grant(),)))
            server = await loop.create_server(lambda: ClientConnection(core), "127.0.0.1", 0)  # type: ignore[arg-type,return-value]  # one by its methods
            host, port = server.sockets[0].getsockname()[:2]
            statuses: list[int] = []
            for _ in range(TIMES):
                for data in SENT.values():
                    client = Client(*await asyncio.open_connection(host, port))
                    await client.send(data)
                    if data.endswith((b"\r\n\r\n", b"}")):
                        statuses.append((await client.response()).status)
                    client.writer.close()
                    await client.writer.wait_closed()
                assert upstream.seen
            assert Counter(statuses) == {200: TIMES, 400: TIMES}
            assert alive()["UpstreamConnection"] == 1, "the one that is kept"
            server.close()
            core.fleet.close()
        for _ in range(100):
            if not alive():
                break
            await asyncio.sleep(0.02)
        assert alive() == {}
    finally:
        gc.enable()


async def test_a_replica_that_left_keeps_nothing_of_what_it_had_read() -> None:
    core = Core(asyncio.get_running_loop(), 0)
    route = model("m", [Replica(id="r", host="127.0.0.1", port=1)])
    core.apply(RoutingTable(epoch="e", generation=1, models=(route,)))
    (entry,) = core.fleet.replicas()
    entry.prefixes.learn([1, 2, 3])
    assert len(entry.prefixes) > 0
    core.apply(RoutingTable(epoch="e", generation=2, models=()))
    assert len(entry.prefixes) == 0
    assert entry.leaving
