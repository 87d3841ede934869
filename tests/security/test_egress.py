"""S20: addresses that somebody gives lead to no place that keeps secrets: a canary listens there, and nobody comes."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from gateway_kit import Upstream, answers, gateway

from modelgrid.adapters.catalog_http import HttpCatalogSource
from modelgrid.adapters.clock_system import SystemClock
from modelgrid.adapters.egress import Egress, RefusedAddress
from modelgrid.adapters.runtime_external.runtime import ExternalRuntime
from modelgrid.domain.engine import EngineRef, EngineState
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.routing import Replica
from modelgrid.domain.target import RuntimeKind
from modelgrid.gateway.egress import connect
from modelgrid.services.readiness import ReadinessProbe

METADATA = (
    "169.254.169.254", "169.254.1.1", "fe80::1", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200",
    "168.63.129.16", "0.0.0.0", "::", "224.0.0.1", "ff02::1",
)  # fmt: skip


class Canary:
    """A server of this machine that counts who comes, and what for."""

    def __init__(self, location: str = "") -> None:
        self.hits: list[bytes] = []
        self.location = location
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hits.append(await reader.readuntil(b"\r\n\r\n"))
        head = f"HTTP/1.1 302 Found\r\nLocation: {self.location}" if self.location else "HTTP/1.1 200 OK"
        writer.write(f"{head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def canary(location: str = "", host: str = "127.0.0.1") -> AsyncIterator[Canary]:
    here = Canary(location)
    server = await asyncio.start_server(here.serve, host, 0)
    here.port = server.sockets[0].getsockname()[1]
    async with server:
        yield here


class Resolver:
    """Answers one after the other; the last stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        del host, port
        self.asked += 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.mark.parametrize("address", METADATA)
async def test_where_a_name_leads_is_judged_before_anything_is_sent(address: str) -> None:
    async with canary() as here, httpx.AsyncClient(transport=Egress(resolve=Resolver([address]))) as client:
        with pytest.raises(RefusedAddress, match="leads to"):
            await client.get(f"http://models.example.com:{here.port}/")
    assert here.hits == []


@pytest.mark.parametrize("address", METADATA)
async def test_an_address_itself_is_judged_too(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    async with httpx.AsyncClient(transport=Egress()) as client:
        with pytest.raises(RefusedAddress):
            await client.get(f"http://{host}/latest/meta-data")


async def test_one_bad_address_among_good_ones_refuses_the_name() -> None:
    async with canary() as here:
        transport = Egress(resolve=Resolver(["127.0.0.1", "169.254.169.254"]))
        async with httpx.AsyncClient(transport=transport) as client:
            with pytest.raises(RefusedAddress):
                await client.get(f"http://models.example.com:{here.port}/")
    assert here.hits == []


async def test_the_address_that_was_judged_is_the_one_that_is_used() -> None:
    """A name that leads elsewhere when it is asked a second time is asked once."""
    async with canary() as good:
        resolver = Resolver(["127.0.0.1"], ["169.254.169.254"])
        async with httpx.AsyncClient(transport=Egress(resolve=resolver)) as client:
            answer = await client.get(f"http://models.example.com:{good.port}/x")
    assert (answer.status_code, resolver.asked, len(good.hits)) == (200, 1, 1)
    assert f"Host: models.example.com:{good.port}".encode() in good.hits[0], "the server is told the name"


async def test_the_next_address_is_tried() -> None:
    async with canary() as good:
        transport = Egress(resolve=Resolver(["127.0.0.2", "127.0.0.1"]))
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get(f"http://models.example.com:{good.port}/")).status_code == 200


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_strangers_name_does_not_lead_to_this_machine(address: str, tmp_path: Path) -> None:
    async with canary(host=address) as here:
        source = HttpCatalogSource(
            "registry", f"https://models.example.com:{here.port}/x", tmp_path, SystemClock(), Resolver([address])
        )
        with pytest.raises(ModelGridError, match="leads to"):
            await source.refresh()
    assert here.hits == []


@pytest.mark.parametrize("target", ["http://169.254.169.254/", "https://169.254.169.254/", "https://[fd00:ec2::254]/x"])
async def test_a_redirect_leads_to_no_such_place(target: str, tmp_path: Path) -> None:
    async with canary(location=target) as here:
        source = HttpCatalogSource("registry", f"http://127.0.0.1:{here.port}/x", tmp_path, SystemClock())
        with pytest.raises(ModelGridError, match="redirect to a place"):
            await source.refresh()
    assert len(here.hits) == 1


async def test_engines_elsewhere_are_asked_through_the_same_door() -> None:
    url = "http://169.254.169.254"
    runtime, probe = ExternalRuntime(), ReadinessProbe()
    try:
        ref = EngineRef(runtime=RuntimeKind.EXTERNAL, id=url, deployment=DeploymentId("d"), attempt=1, url=url)
        status = await runtime.inspect(ref)
        assert status.state is EngineState.UNKNOWN
        assert not (await probe.health(url)).ok
    finally:
        await runtime.close()
        await probe.close()


# --- the gateways


def leads_to(monkeypatch: pytest.MonkeyPatch, *answers: Sequence[str]) -> Resolver:
    """Have the loop's own resolver give these answers, as the gateway asks it."""
    resolver = Resolver(*answers)

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        found = await resolver(host, port)
        families = (socket.AF_INET6 if ":" in address else socket.AF_INET for address in found)
        return [
            (family, socket.SOCK_STREAM, 6, "", (where, port)) for family, where in zip(families, found, strict=True)
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return resolver


@pytest.mark.parametrize("address", METADATA)
async def test_a_gateway_judges_where_a_name_leads(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    async with canary() as here:
        leads_to(monkeypatch, ["127.0.0.1", address])
        with pytest.raises(OSError, match="where nothing is asked for"):
            await connect(loop, "engine.example.com", here.port, asyncio.Protocol)
        with pytest.raises(OSError, match="where nothing is asked for"):
            await connect(loop, address, here.port, asyncio.Protocol)
    assert here.hits == []


async def test_a_gateway_uses_the_address_that_it_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, opened = asyncio.get_running_loop(), asyncio.Event()

    class Client(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            opened.set()
            cast("asyncio.Transport", transport).write(b"GET / HTTP/1.1\r\n\r\n")

    async with canary() as here:
        resolver = leads_to(monkeypatch, ["127.0.0.2", "127.0.0.1"], ["169.254.169.254"])
        await connect(loop, "engine.example.com", here.port, Client)
        assert opened.is_set()
        assert resolver.asked == 1
        with pytest.raises(OSError, match="leads to 169"):
            await connect(loop, "engine.example.com", here.port, Client)


async def test_a_gateway_gives_a_request_to_no_forbidden_address(tmp_path: Path) -> None:
    """Linux takes 0.0.0.0 for this machine: what listens there would be reached."""
    async with Upstream(answers) as here:
        astray = Replica(id="astray", host="0.0.0.0", port=here.replica().port)
        async with gateway(tmp_path, astray) as grid:
            refused = await grid.chat()
            assert refused.status in {502, 503}
            print(f"S20: {len(here.seen)} requests reached the canary; the client got {refused.status}")
        assert here.seen == []
