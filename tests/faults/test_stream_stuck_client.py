"""Consoles that do not read, go away and come back: the others notice nothing, and nobody misses anything silently."""

import asyncio
import gc
import time

import pytest
from stream_kit import StreamClient, serving

from modelgrid.adapters.clock_system import SystemClock
from modelgrid.api import stream
from modelgrid.services.stream.backlog import Backlog, Bounds
from modelgrid.services.stream.hub import Hub

CLIENTS = 200
EVENTS = 100
EVENT_SECONDS = 0.02
PAYLOAD = "x" * 2_000


async def lag_of(client: StreamClient) -> float:
    """Read all events; return the longest time from an event's publication to its arrival."""
    longest = 0.0
    for expected in range(EVENTS):
        value = (await client.until("change"))["value"]
        longest = max(longest, time.monotonic() - value["at"])
        assert value["n"] == expected, "an event is missing, doubled or out of order"
    return longest


async def test_one_stuck_console_of_200_delays_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stream, "STALL_SECONDS", 1.0)
    hub = Hub("E", SystemClock())
    async with serving(hub, send_buffer=8_192) as port:
        stuck = await StreamClient.connect(port, "topics=deployments", receive_buffer=4_096)
        clients = [await StreamClient.connect(port, "topics=deployments") for _ in range(CLIENTS - 1)]
        assert hub.streams == CLIENTS
        reading = [asyncio.create_task(lag_of(client)) for client in clients]
        for n in range(EVENTS):
            value = {"n": n, "at": time.monotonic(), "payload": PAYLOAD}
            hub.publish("deployments", "upsert", "d", lambda value=value: value)
            await asyncio.sleep(EVENT_SECONDS)
        longest = max(await asyncio.gather(*reading))
        with capsys.disabled():
            print(f"\nR24: {CLIENTS} streams, one stuck: the others at most {longest * 1000:.0f} ms behind")
        assert longest <= 1.0
        async with asyncio.timeout(20):
            while hub.streams == CLIENTS:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert hub.streams == CLIENTS - 1, "the stuck one, and only it, was cut off"
        assert "nothing was read" in (await stuck.until("lagged"))["reason"], "it is told when it reads again"
        with pytest.raises(EOFError):
            await stuck.frame()
        again = await StreamClient.connect(port, f"topics=deployments&last_event_id={stuck.last_id}")
        assert (await again.frame())[0] == "hello"
        for client in (*clients, stuck, again):
            client.close()


async def test_who_comes_back_misses_nothing_or_is_told() -> None:
    hub = Hub("E", SystemClock(), Backlog(state=Bounds(changes=EVENTS, size=10**7)))

    def publish(n: int) -> None:
        hub.publish("deployments", "upsert", "d", lambda: {"n": n})

    async with serving(hub) as port:
        client = await StreamClient.connect(port, "topics=deployments")
        publish(0)
        seen = [(await client.until("change"))["value"]["n"]]
        for n in range(1, EVENTS, 10):
            client.close()
            for missed in range(n, min(n + 10, EVENTS)):
                publish(missed)
            # As a browser does it: the address of the first connect, and the newer id in the header.
            client = await StreamClient.connect(
                port, "topics=deployments&last_event_id=E-0", headers=f"Last-Event-ID: {client.last_id}\r\n"
            )
            seen += [(await client.until("change"))["value"]["n"] for _ in range(n, min(n + 10, EVENTS))]
        assert seen == list(range(EVENTS))
        left_at = client.last_id
        client.close()
        for n in range(2 * EVENTS):
            publish(n)
        client = await StreamClient.connect(port, f"topics=deployments&last_event_id={left_at}")
        assert (await client.until("reset"))["topics"] == ["deployments"]
        client.close()


async def test_nothing_is_left_of_streams_whose_clients_are_gone() -> None:
    hub = Hub("E", SystemClock())
    async with serving(hub) as port:
        await asyncio.sleep(0)
        before = len(asyncio.all_tasks())
        for _ in range(20):
            clients = [await StreamClient.connect(port, "topics=gpus,logs") for _ in range(10)]
            for client in clients:
                client.close()
        async with asyncio.timeout(20):
            while hub.streams or len(asyncio.all_tasks()) > before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        gc.collect()
        assert not [item for item in gc.get_objects() if isinstance(item, stream.EventStream)]


async def test_all_streams_end_at_once_when_the_hub_closes() -> None:
    hub = Hub("E", SystemClock())
    async with serving(hub) as port:
        clients = [await StreamClient.connect(port, "topics=gpus") for _ in range(20)]
        for client in clients:
            await client.frame()
        hub.close()
        for client in clients:
            with pytest.raises(EOFError):
                await client.frame()
            client.close()
