"""Real gateway processes, scripted replicas and a raw HTTP client for the gateway's tests."""

import asyncio
import hashlib
import json
import os
import re
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import psutil
from tests.daemon_logs import expect_exception
from tests.ports import free_port

from modelgrid.domain.key_format import make_secret
from modelgrid.domain.routing import (
    GatewayReport,
    GatewaySettings,
    KeyGrant,
    ModelRoute,
    ModelState,
    Replica,
    ReplicaState,
    RoutingTable,
)
from modelgrid.gateway.link import ControlLink


def secret(word: str) -> str:
    """A well-formed secret, the same for the same word."""
    return make_secret(int.from_bytes(hashlib.sha256(word.encode()).digest()[:24], "big"))


KEY = secret("tests")
PATIENCE = 20.0
"""Bound on every wait, in seconds: far above what anything here takes, so that a slow machine fails nothing."""


def grant(key: str = KEY, **fields: Any) -> KeyGrant:
    """A key as control would publish it."""
    values = {"id": "key-1", "label": "tests"} | fields
    return KeyGrant(digest=hashlib.sha256(key.encode()).hexdigest(), **values)


async def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait for a state of this process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.005)


# ---------------------------------------------------------------- replicas


@dataclass
class Seen:
    """One request as a replica got it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Peer:
    """A replica's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def event(self, text: str) -> None:
        """One server-sent event in one chunk."""
        data = f"data: {text}\n\n".encode()
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the gateway has closed the connection."""
        with suppress(ConnectionError):
            while await asyncio.wait_for(self.reader.read(65536), PATIENCE):
                pass


Script = Callable[[Seen, Peer], Awaitable[None]]


class Upstream:
    """A replica that does what its script says."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self.connections = 0
        self.open = 0
        self._server: asyncio.Server | None = None
        self.port = free_port()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Upstream":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 20, backlog=2048)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    def replica(self, name: str = "", state: ReplicaState = ReplicaState.READY, places: int | None = None) -> Replica:
        name = name or f"replica-{self.port}"
        return Replica(id=name, host="127.0.0.1", port=self.port, state=state, places=places)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        number, peer = self.connections, Peer(reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while not writer.is_closing():
                seen = await self._read(reader, number)
                self.seen.append(seen)
                await self.script(seen, peer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Seen:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        seen = Seen(method, target, headers, b"", number)
        seen.body = await reader.readexactly(int(seen.header("content-length") or 0))
        return seen


def json_answer(body: Any, status: str = "200 OK", extra: str = "") -> bytes:
    """A whole answer."""
    payload = json.dumps(body, separators=(",", ":")).encode()
    return (
        f"HTTP/1.1 {status}\r\nserver: uvicorn\r\ncontent-type: application/json\r\n{extra}"
        f"content-length: {len(payload)}\r\n\r\n"
    ).encode() + payload


COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "total_tokens": 10, "completion_tokens": 3},
}
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


async def answers(_: Seen, peer: Peer) -> None:
    """A replica that is well."""
    await peer.send(json_answer(COMPLETION))


# ---------------------------------------------------------------- client


@dataclass
class Response:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    complete: bool = True
    """The framing was ended properly."""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json()["error"]["code"])


class Client:
    """One connection to the gateway, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Response:
        await self.send(request(method, path, body, **options))
        return await self.response(method)

    async def head(self) -> Response:
        """The next status line and headers."""
        text = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)).decode("latin-1")
        first, *lines = text.split("\r\n")[:-2]
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        return Response(int(first.split(" ")[1]), headers, b"")

    async def response(self, method: str = "GET") -> Response:
        """The next whole answer; `complete` is false when the connection ended before the answer did."""
        answer = await self.head()
        length = answer.header("content-length")
        if method == "HEAD" or answer.status in {100, 204, 304}:
            return answer
        try:
            if length is not None:
                answer.body = await asyncio.wait_for(self.reader.readexactly(int(length)), PATIENCE)
            elif (answer.header("transfer-encoding") or "") == "chunked":
                await self._chunks(answer)
            else:
                answer.body = await asyncio.wait_for(self.reader.read(), PATIENCE)
        except asyncio.IncompleteReadError as error:
            answer.body += error.partial
            answer.complete = False
        return answer

    async def _chunks(self, answer: Response) -> None:
        while size := int(await asyncio.wait_for(self.reader.readuntil(b"\r\n"), PATIENCE), 16):
            answer.body += await asyncio.wait_for(self.reader.readexactly(size), PATIENCE)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)

    async def closed(self) -> bytes:
        """Wait until the gateway has closed the connection; return what came before."""
        rest = b""
        with suppress(ConnectionError):
            rest = await asyncio.wait_for(self.reader.read(), PATIENCE)
        return rest

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        self.writer.transport.abort()


async def close_all(streams: Iterable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    """Close raw connections and wait for it, so that nothing is left for the garbage collector to complain of."""
    writers = [writer for _, writer in streams]
    for writer in writers:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


def request(
    method: str,
    path: str,
    body: Any = None,
    *,
    key: str | None = KEY,
    headers: Iterable[tuple[str, str]] = (),
    version: str = "1.1",
    host: str = "gateway",
) -> bytes:
    """Bytes of one request; a dict body becomes JSON."""
    payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/{version}", f"Host: {host}"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body is not None:
        lines += [f"Content-Length: {len(payload)}"]
        if not any(name.lower() == "content-type" for name, _ in headers):
            lines.append("Content-Type: application/json")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + payload


# ---------------------------------------------------------------- the gateway


@dataclass
class Gateway:
    """A gateway process, with this process as its supervisor and its control."""

    folder: Path
    settings: GatewaySettings = field(default_factory=GatewaySettings)
    keys: tuple[KeyGrant, ...] = field(default_factory=lambda: (grant(),))
    models: tuple[ModelRoute, ...] = ()
    reports: list[GatewayReport] = field(default_factory=list)
    generation: int = 0
    epoch: str = "epoch-1"
    process: asyncio.subprocess.Process | None = None
    link: ControlLink | None = None
    raises: str = ""
    """What the exceptions contain that a test makes it raise."""

    def __post_init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listening.set_inheritable(True)
        self.port = self.listening.getsockname()[1]
        self.board = os.memfd_create("board")
        self.log = self.folder / "gateway.log"
        if self.raises:
            expect_exception(self.log, self.raises)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def rss(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)

    async def start(self, *pass_fds: int, **environment: str) -> None:
        """Start the process; it need not be ready when this returns."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "modelgrid.gateway", "--index", "0", "--fd", str(self.listening.fileno()),
                "--link", str(self.folder / "control.sock"), "--cache", str(self.folder / "routing.msgpack"),
                "--board", str(self.board), *self.more_arguments(),
                pass_fds=[self.listening.fileno(), self.board, *self.more_sockets(), *pass_fds],
                stderr=log, stdout=log, env=os.environ | environment,
            )  # fmt: skip

    def more_arguments(self) -> list[str]:
        """What else the process is told."""
        return []

    def more_sockets(self) -> list[int]:
        """Which further descriptors it gets."""
        return []

    async def start_control(self) -> None:
        self.link = ControlLink(self.folder / "control.sock", self.reports.append)
        await self.link.start()

    async def stop_control(self) -> None:
        if self.link is not None:
            await self.link.close()
            self.link = None

    def close(self) -> None:
        """Close what the supervisor would hold."""
        self.listening.close()
        os.close(self.board)

    def table(self) -> RoutingTable:
        self.generation += 1
        return RoutingTable(
            epoch=self.epoch, generation=self.generation, models=self.models, keys=self.keys, settings=self.settings
        )

    async def publish(self, *models: ModelRoute) -> None:
        """Send `models` as the new table and wait until it is used."""
        assert self.link is not None
        self.models = models
        table = self.table()
        self.link.publish(table)
        await self.wait_for_metric("modelgrid_routing_generation", table.generation)

    async def serve(self, *replicas: Replica, name: str = "m", **fields: Any) -> None:
        """Publish one model with these replicas."""
        await self.publish(model(name, replicas, **fields))

    async def change(self, **settings: Any) -> None:
        """Publish other settings."""
        self.settings = replace(self.settings, **settings)
        await self.publish(*self.models)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 26)
        connection = Client(reader, writer)
        try:
            yield connection
        finally:
            await connection.close()

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Response:
        async with self.client() as client:
            return await client.ask(method, path, body, **options)

    async def chat(self, name: str = "m", **options: Any) -> Response:
        return await self.ask("POST", "/v1/chat/completions", {"model": name, "messages": []}, **options)

    async def metrics(self) -> dict[str, float]:
        """Samples by name and labels as printed, without the gateway's own label."""
        answer = await self.ask("GET", "/metrics")
        if answer.status != 200:
            return {}
        text = answer.body.decode()
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {re.sub(r'gateway="0",?', "", name).replace("{}", ""): float(value) for name, value in lines}

    async def wait_for_metric(
        self, name: str, value: float, seconds: float = PATIENCE, *, at_least: bool = False
    ) -> None:
        end, last = time.monotonic() + seconds, None
        while True:
            with suppress(ConnectionError, asyncio.IncompleteReadError, KeyError):
                last = (await self.metrics()).get(name)
            if last == value or (at_least and last is not None and last > value):
                return
            assert time.monotonic() < end, f"{name} is {last}, not {value}"
            await asyncio.sleep(0.01)

    async def idle(self) -> None:
        """Wait until nothing is in flight, then check that every count agrees."""
        await self.wait_for_metric("modelgrid_requests_in_flight", 0)
        figures = await self.metrics()
        assert {k: v for k, v in figures.items() if k.startswith("modelgrid_replica_in_flight") and v} == {}
        assert {k: v for k, v in figures.items() if k.startswith("modelgrid_queue_length") and v} == {}

    async def stop(self, seconds: float = PATIENCE) -> int:
        """SIGTERM, then the exit code."""
        assert self.process is not None
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), seconds)

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()


def model(name: str, replicas: Sequence[Replica] = (), **fields: Any) -> ModelRoute:
    """A route of one name."""
    state = fields.pop("state", ModelState.READY if replicas else ModelState.STARTING)
    names = fields.pop("names", (name,))
    return ModelRoute(id=name, names=names, state=state, created=1_700_000_000, replicas=tuple(replicas), **fields)


SomeGateway = TypeVar("SomeGateway", bound=Gateway)


@asynccontextmanager
async def running(grid: SomeGateway) -> AsyncIterator[SomeGateway]:
    """Start and stop it, with this process as its control. Its log must hold no error when it ends."""
    try:
        await grid.start_control()
        await grid.start()
        yield grid
        if grid.process is not None and grid.process.returncode is None:
            assert await grid.stop() == 0
    finally:
        if grid.process is not None and grid.process.returncode is None:
            await grid.kill()
        await grid.stop_control()
        grid.close()
    log = grid.log.read_text()
    for line in log.splitlines():
        assert "Traceback" not in line or (grid.raises and grid.raises in line), log
        assert "level=error" not in line or (grid.raises and grid.raises in line), log


@asynccontextmanager
async def gateway(folder: Path, *replicas: Replica, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway that serves model `m` with `replicas`."""
    async with running(Gateway(folder, GatewaySettings(**settings))) as grid:
        await grid.serve(*replicas)
        yield grid
