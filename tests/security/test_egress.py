"""S20: addresses that somebody gives lead to no place that keeps secrets: a canary listens there, and nobody comes."""

import asyncio
import socket
import ssl
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
from modelgrid.adapters.control_plane_http import join
from modelgrid.adapters.control_plane_http.pinning import fingerprint_of, seen_certificate
from modelgrid.adapters.egress import Egress, RefusedAddress
from modelgrid.adapters.node_certificate import ensure_certificate
from modelgrid.adapters.runtime_external.runtime import ExternalRuntime
from modelgrid.config.urls import in_url
from modelgrid.domain.cluster import JoinRequest
from modelgrid.domain.engine import EngineRef, EngineState
from modelgrid.domain.errors import ControlPlaneUnreachable, InvalidInput, ModelGridError
from modelgrid.domain.ids import DeploymentId, NodeName
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


# --- a node that joins


@asynccontextmanager
async def control_plane(folder: Path) -> AsyncIterator[tuple[int, str, list[bytes]]]:
    """Yield the port and fingerprint of one that speaks TLS as control planes do, and what it was sent."""
    certificate, sent = ensure_certificate(folder, NodeName("control")), list[bytes]()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], fingerprint_of(certificate.pem), sent


@pytest.mark.parametrize("address", METADATA)
async def test_a_node_looks_for_no_control_plane_there(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    came = 0

    def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        came += 1
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(InvalidInput, match="not the address of a control plane"):
            await seen_certificate(f"https://{in_url(address)}:{port}")
        leads_to(monkeypatch, ["127.0.0.1", address])
        with pytest.raises(InvalidInput, match="leads to"):
            await seen_certificate(f"https://control.example.com:{port}")
        assert came == 0
        with pytest.raises(ControlPlaneUnreachable):
            await seen_certificate(f"https://127.0.0.1:{port}")
        assert came == 1, "clusters may be of this machine"


async def test_a_join_goes_where_it_was_judged_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name leads elsewhere once the certificate was seen: the invitation's secret is sent nowhere."""
    async with control_plane(tmp_path) as (port, fingerprint, sent):
        resolver = leads_to(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
        asked = JoinRequest(name=NodeName("b"), version="1", at=0.0, peer_url="", cluster_url="", certificate="")
        with pytest.raises(ControlPlaneUnreachable, match=r"leads to 169\.254"):
            await join(f"https://control.example.com:{port}", f"mgj-{'A' * 32}.{fingerprint}", asked)
        assert (resolver.asked, [part for part in sent if part]) == (2, [])
