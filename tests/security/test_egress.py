"""Addresses that somebody gives lead to no place that keeps secrets: a canary listens there, and nobody comes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from modelgrid.adapters.catalog_http import HttpCatalogSource
from modelgrid.adapters.clock_system import SystemClock
from modelgrid.adapters.egress import Egress, RefusedAddress
from modelgrid.adapters.runtime_external.runtime import ExternalRuntime
from modelgrid.domain.engine import EngineRef, EngineState
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.target import RuntimeKind
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
