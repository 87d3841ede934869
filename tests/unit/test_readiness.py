"""What the readiness probe says of engines that do not answer, over real sockets."""

import asyncio
import socket

from modelgrid.services import readiness
from modelgrid.services.readiness import ReadinessProbe


async def test_a_closed_port_is_said_in_plain_words():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        probe = ReadinessProbe()
        answer = await probe.health(f"http://127.0.0.1:{closed.getsockname()[1]}")
        await probe.close()
    assert not answer.ok
    assert answer.detail == "it does not listen on its port yet"


async def test_silence_is_told_from_a_closed_port(monkeypatch):
    monkeypatch.setattr(readiness, "HEALTH_TIMEOUT_SECONDS", 0.05)
    left = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    probe = ReadinessProbe()
    async with server:
        answer = await probe.health(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await probe.close()
        await left.wait()
    assert answer.detail == "it does not answer in time"
