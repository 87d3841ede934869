"""A client of the stream on a raw socket, and a server for it in the test's own loop."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import uvicorn

from modelgrid.api.app import create_app
from modelgrid.api.context import Services
from modelgrid.config.model import Config
from modelgrid.services.stream.hub import Hub

TOKEN = "a-token-for-tests"


@asynccontextmanager
async def serving(hub: Hub, *, send_buffer: int | None = None) -> AsyncIterator[int]:
    """Serve the console's application, of which only the stream is used, on a port of its own."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    if send_buffer is not None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    settings = SimpleNamespace(running=Config())  # these and `nodes` tell the guard how the console is called
    app = create_app(cast("Services", SimpleNamespace(hub=hub, settings=settings, nodes=tuple, control=None)), TOKEN)
    server = uvicorn.Server(
        uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=3)
    )
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield int(listening.getsockname()[1])
    finally:
        hub.close()
        server.should_exit = True
        await task


class StreamClient:
    """Reads frames as they come. `last_id` is the id of the last one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._pending = b""
        self.head = b""
        self.last_id = ""

    @classmethod
    async def connect(
        cls, port: int, query: str, *, headers: str = "", receive_buffer: int | None = None, token: str = TOKEN
    ) -> "StreamClient":
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        client = cls(*await asyncio.open_connection(sock=connection, limit=receive_buffer or 2**20))
        request = (
            f"GET /v1/_ui/events?{query} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{headers}\r\n"
        )
        client._writer.write(request.encode())
        client.head = await client._reader.readuntil(b"\r\n\r\n")
        return client

    async def frame(self) -> tuple[str, dict[str, Any]]:
        """Return the next frame's event and data. Raises `EOFError` when the server ended the stream."""
        while b"\n\n" not in self._pending:
            size = int((await self._reader.readuntil(b"\r\n")).strip(), 16)
            self._pending += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
            if not size:
                raise EOFError
        block, _, self._pending = self._pending.partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
        self.last_id = fields["id"]
        return fields["event"], json.loads(fields["data"])

    async def until(self, event: str) -> dict[str, Any]:
        """Return the data of the next frame of this kind."""
        while True:
            name, data = await self.frame()
            if name == event:
                return data

    def close(self) -> None:
        self._writer.close()
