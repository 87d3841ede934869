"""What every catalog source must do, and what each one must beyond it. Real files, a real HTTP server."""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modelgrid.adapters.catalog_file import FileCatalogSource
from modelgrid.adapters.catalog_http import HttpCatalogSource
from modelgrid.adapters.catalog_http import source as http_source
from modelgrid.adapters.catalog_packaged import PackagedCatalogSource
from modelgrid.decide.catalog import MAX_CATALOG_BYTES, encode
from modelgrid.domain.errors import InvalidInput, ModelGridError, NotFound, StorageFull
from modelgrid.domain.ids import ModelId
from modelgrid.domain.model import Architecture, Capability, CatalogEntry
from modelgrid.ports.catalog import CatalogSource


def catalog(*names: str, repository: str = "") -> bytes:
    return encode(
        (
            CatalogEntry(
                id=ModelId(name),
                capabilities=(Capability.CHAT,),
                parameters=1,
                dtype="bfloat16",
                context=8,
                default_context=8,
                licence="mit",
                repository=repository,
                architecture=Architecture(
                    weight_bytes=1, layers=1, attention_heads=1, kv_heads=1, head_size=1, source="config.json"
                ),
            )
            for name in names
        ),
        generated="2026-01-01",
    )


class FixedClock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Server:
    """Answers each request with `respond`; keeps the requests it saw."""

    port: int = 0
    body: bytes = b""
    etag: str = '"one"'
    status: int = 200
    location: str = ""
    extra: dict[str, str] = field(default_factory=dict)
    custom: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None
    seen: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/catalog.json"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            self.seen.append({"request": head[0], **headers})
            if self.custom is not None:
                await self.custom(writer)
            elif self.location:
                await send(writer, 302, b"", {"location": self.location})
            elif self.etag and headers.get("if-none-match") == self.etag:
                await send(writer, 304, b"", {"etag": self.etag})
            else:
                await send(writer, self.status, self.body, {"etag": self.etag, **self.extra})
        except (ConnectionError, asyncio.IncompleteReadError):
            self.seen.append({"request": "gone"})
        finally:
            writer.close()


async def send(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} x", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    await writer.drain()


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[Server]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running(Server(body=catalog("acme/one"))) as started:
        yield started


@pytest.fixture(params=["packaged", "file", "http"])
def source(request: pytest.FixtureRequest, tmp_path: Path, server: Server) -> CatalogSource:
    if request.param == "packaged":
        return PackagedCatalogSource()
    if request.param == "file":
        path = tmp_path / "catalog.json"
        path.write_bytes(catalog("acme/one"))
        return FileCatalogSource("file", path)
    return HttpCatalogSource("http", server.url, tmp_path / "state", FixedClock())


# Every source.


async def test_refreshed_entries_carry_the_sources_name_and_are_what_load_returns(source: CatalogSource) -> None:
    entries = await source.refresh()
    assert entries
    assert {entry.source for entry in entries} == {source.name}
    assert await source.load() == entries


async def test_refreshing_twice_changes_nothing(source: CatalogSource) -> None:
    assert await source.refresh() == await source.refresh()


# The file.


async def test_an_edited_file_is_read_again_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    path.write_bytes(catalog("acme/one"))
    source = FileCatalogSource("mine", f"file://{path}")
    first = await source.load()
    assert await source.load() is first
    replacement = tmp_path / "new.json"
    replacement.write_bytes(catalog("acme/two"))
    replacement.rename(path)
    assert [entry.id for entry in await source.load()] == ["acme/two"]


async def test_a_file_may_name_local_folders(tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    path.write_bytes(catalog("acme/one", repository="/models/one"))
    assert (await FileCatalogSource("mine", path).load())[0].location == "/models/one"


async def test_a_missing_file_is_named_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        await FileCatalogSource("mine", tmp_path / "absent.json").load()
    assert "absent.json" in caught.value.message
    assert "models.sources" in caught.value.fix


async def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(InvalidInput, match="cannot be read"):
            await asyncio.wait_for(FileCatalogSource("mine", path).load(), 5)


async def test_a_broken_edit_is_refused_and_mended_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    path.write_bytes(catalog("acme/one"))
    source = FileCatalogSource("mine", path)
    await source.load()
    path.write_bytes(b'{"version": 1, "models": [{}]}')
    for _ in range(2):
        with pytest.raises(InvalidInput):
            await source.load()
    path.write_bytes(catalog("acme/three"))
    assert [entry.id for entry in await source.load()] == ["acme/three"]


@pytest.mark.parametrize("location", ["catalog.json", "", "file://host/x.json", "http://x/y", "/a\0b", "file:/a%00b"])
async def test_locations_that_are_no_absolute_path_are_refused_when_they_are_read(location: str) -> None:
    """Not sooner: who makes the sources has others to make, and each says by itself what is wrong with it."""
    source = FileCatalogSource("mine", location)
    for read in (source.load, source.refresh):
        with pytest.raises(InvalidInput, match="file:///path/to/catalog") as refused:
            await read()
        assert refused.value.details["path"] == "models.sources"


# The registry.


def registry(server: Server, folder: Path, clock: FixedClock | None = None) -> HttpCatalogSource:
    return HttpCatalogSource("registry", server.url, folder, clock or FixedClock())


async def test_load_asks_no_network_and_knows_the_last_good_copy_after_a_restart(
    server: Server, tmp_path: Path
) -> None:
    clock = FixedClock()
    assert await registry(server, tmp_path, clock).load() == ()
    assert server.seen == []
    entries = await registry(server, tmp_path, clock).refresh()
    again = registry(server, tmp_path, FixedClock())
    assert await again.load() == entries
    assert again.fetched_at == 1000.0
    assert len(server.seen) == 1


async def test_an_unchanged_catalog_is_confirmed_by_its_etag(server: Server, tmp_path: Path) -> None:
    clock = FixedClock()
    first = await registry(server, tmp_path, clock).refresh()
    clock.time = 2000.0
    source = registry(server, tmp_path, clock)
    server.body = b"not sent"
    assert await source.refresh() == first
    assert server.seen[1]["if-none-match"] == '"one"'
    assert source.fetched_at == 2000.0


async def test_last_modified_serves_where_there_is_no_etag(server: Server, tmp_path: Path) -> None:
    server.etag = ""
    server.extra = {"last-modified": "Wed, 21 Oct 2025 07:28:00 GMT"}
    source = registry(server, tmp_path)
    await source.refresh()
    await source.refresh()
    assert server.seen[1]["if-modified-since"] == "Wed, 21 Oct 2025 07:28:00 GMT"


async def test_a_damaged_copy_is_not_used_and_not_confirmed(server: Server, tmp_path: Path) -> None:
    await registry(server, tmp_path).refresh()
    (tmp_path / "catalog-registry.json").write_bytes(catalog("acme/evil"))
    source = registry(server, tmp_path)
    assert await source.load() == ()
    assert [entry.id for entry in await source.refresh()] == ["acme/one"]
    assert "if-none-match" not in server.seen[1]


async def test_a_copy_of_another_url_is_not_used(server: Server, tmp_path: Path) -> None:
    await registry(server, tmp_path).refresh()
    other = HttpCatalogSource("registry", server.url + "?v=2", tmp_path, FixedClock())
    assert await other.load() == ()


async def test_the_body_is_kept_byte_for_byte_with_its_signature(server: Server, tmp_path: Path) -> None:
    document = {**json.loads(server.body), "signature": {"algorithm": "ed25519", "key_id": "k1", "value": "AAAA"}}
    server.body = json.dumps(document).encode()
    await registry(server, tmp_path).refresh()
    assert (tmp_path / "catalog-registry.json").read_bytes() == server.body
    assert not hidden_files(tmp_path), "no temporary file is left"


def hidden_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".")]


async def test_peek_keeps_nothing(server: Server, tmp_path: Path) -> None:
    source = registry(server, tmp_path)
    await source.refresh()
    server.body, server.etag = catalog("acme/two"), '"two"'
    assert [entry.id for entry in await source.peek()] == ["acme/two"]
    assert [entry.id for entry in await source.load()] == ["acme/one"]


async def too_much(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    chunk = b" " * 65536
    for _ in range(2 * MAX_CATALOG_BYTES // len(chunk)):
        writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        await writer.drain()
    writer.write(b"0\r\n\r\n")


async def cut_off(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
    await writer.drain()


async def no_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"status": 500}, "status 500"),
        ({"status": 404}, "status 404"),
        ({"body": b"<html>"}, "JSON"),
        ({"body": b'{"version": 1, "models": [{"id": 5}]}'}, "models[0].id"),
        ({"body": catalog("acme/one", repository="/etc")}, "hub"),
        ({"extra": {"content-encoding": "gzip"}}, "encoded"),
        ({"location": "ftp://127.0.0.1/x"}, "redirect"),
        ({"location": "file:///etc/passwd"}, "redirect"),
        ({"location": "http://example.com/x"}, "redirect"),
        ({"location": "/catalog.json"}, "more than 3 redirects"),
        ({"custom": too_much}, "more than 4194304 bytes"),
        ({"custom": cut_off}, "registry"),
        ({"custom": no_http}, "registry"),
    ],
)
async def test_what_is_no_catalog_is_refused_and_the_last_good_copy_stays(
    server: Server, tmp_path: Path, change: dict[str, object], word: str
) -> None:
    source = registry(server, tmp_path)
    good = await source.refresh()
    server.etag = '"new"'
    for name, value in change.items():
        setattr(server, name, value)
    with pytest.raises(ModelGridError) as caught:
        await source.refresh()
    assert word in str(caught.value)
    assert await source.load() == good
    assert await registry(server, tmp_path).load() == good


async def test_an_unreachable_registry_is_an_error_with_a_fix(tmp_path: Path, server: Server) -> None:
    source = HttpCatalogSource("registry", "http://127.0.0.1:9/catalog.json", tmp_path, FixedClock())
    with pytest.raises(ModelGridError) as caught:
        await source.refresh()
    assert caught.value.code == "catalog_unreachable"
    assert "`models` in config.json" in caught.value.fix
    assert await source.load() == ()


async def test_a_trickling_server_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = asyncio.Event()

    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
        await writer.drain()
        await released.wait()

    monkeypatch.setattr(http_source, "TOTAL_SECONDS", 0.2)
    server.custom = trickle
    with pytest.raises(ModelGridError, match="no whole answer"):
        await registry(server, tmp_path).refresh()
    released.set()


async def test_a_followed_redirect_stays_on_this_machine(server: Server, tmp_path: Path) -> None:
    async with running(Server(location=server.url)) as first:
        source = HttpCatalogSource("registry", first.url, tmp_path, FixedClock())
        assert [entry.id for entry in await source.refresh()] == ["acme/one"]


async def test_a_full_disk_is_told_and_the_last_good_copy_stays(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = registry(server, tmp_path)
    good = await source.refresh()
    server.body, server.etag = catalog("acme/two"), '"two"'

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        await source.refresh()
    monkeypatch.undo()
    assert await source.load() == good
    assert not hidden_files(tmp_path)


async def test_https_is_spoken_and_an_unknown_certificate_refused(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path))
    listener = await asyncio.start_server(Server(body=catalog("acme/one")).serve, "127.0.0.1", 0, ssl=context)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        source = HttpCatalogSource("registry", f"https://localhost:{port}/c.json", tmp_path, FixedClock())
        with pytest.raises(ModelGridError, match=r"(?i)certificate"):
            await source.refresh()


def self_signed(folder: Path) -> tuple[Path, Path]:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize(
    "url",
    [
        "http://list.example.com/c.json",
        "ftp://127.0.0.1/c",
        "file:///etc/passwd",
        "https://user:pw@example.com/c",
        "https://",
        "http://127.0.0.1.example.com/c",
        "http://[::1/c",
        "javascript:alert(1)",
        "",
    ],
)
def test_urls_that_catalogs_are_not_read_from(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInput, match="https"):
        HttpCatalogSource("registry", url, tmp_path, FixedClock())
