"""Mixed load on one gateway for as long as it is told: streams, whole answers, clients that leave, replicas that are
killed. Every answer is checked against what the simulator must have said, and the requests that the simulators received
against those that were sent; at the end nothing is left over."""

import asyncio
import random
import re
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from gateway_kit import Client, Gateway, gateway, request
from soak_answers import FAILED, LEAST_TOKENS, TOKENS, asked_for, id_of, problem

from modelgrid.domain.routing import Replica
from modelgrid.simulator.spawn import SpawnedEngine, spawned

REPLICAS = 3
TASKS = 3
"""Of a gateway at rest: its own, its link to control, and the reports on it."""
KILL_SECONDS = 20.0
LOAD_AFTER_KILL_SECONDS = 5.0
WRONG_SHOWN = 20
_RECEIVED = re.compile(r"Received request (\S+): ")


@dataclass
class Soaked:
    """What a soak found."""

    seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    """By kind: `whole`, `streamed`, `cancelled`, `failed` (an honest error after a kill), `kills`."""
    wrong: list[str] = field(default_factory=list)
    """Answers that were neither right nor an honest error."""
    rss: list[int] = field(default_factory=list)
    """Bytes, once a second."""
    sent: int = 0
    answered: list[str] = field(default_factory=list)
    """Ids of the right answers."""
    received: Counter[str] = field(default_factory=Counter)
    """How often engines, also those that were killed, received the request of each id."""
    descriptors: tuple[int, int] = (0, 0)
    threads: tuple[int, int] = (0, 0)
    tasks: tuple[float, float] = (0.0, 0.0)
    """Before the load, and after it when all was quiet: no connection but the one that asks."""

    def __str__(self) -> str:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
        third = len(self.rss) // 3
        early, late = max(self.rss[third : 2 * third]) / 1e6, max(self.rss[2 * third :]) / 1e6
        return (
            f"{self.seconds:.0f} s: {told}; {len(self.wrong)} wrong; "
            f"{self.sent} sent, {self.received.total()} received; "
            f"RSS {early:.1f} → {late:.1f} MB (second, last third); "
            f"descriptors {self.descriptors[0]} → {self.descriptors[1]}, threads {self.threads[0]} → {self.threads[1]}"
        )


class _Fleet:
    """Simulated engines behind the gateway; each is killed in its turn and comes back under its own id."""

    def __init__(self, grid: Gateway, stack: AsyncExitStack) -> None:
        self._grid = grid
        self._stack = stack
        self._engines: dict[str, SpawnedEngine] = {}
        self._all: list[SpawnedEngine] = []

    async def received(self) -> Counter[str]:
        """End the engines and return how often they, also those that were killed, received the request of each id."""
        for engine in self._all:
            await engine.stop()
        return Counter(found[1] for engine in self._all for line in engine.lines if (found := _RECEIVED.search(line)))

    async def start(self) -> None:
        for number in range(REPLICAS):
            self._engines[f"replica-{number}"] = await self._engine()
        await self.publish()

    async def kill_one(self, name: str) -> None:
        """Kill it while requests run on it; bring another up, and only then say so to the gateway."""
        await self._engines[name].stop(signal.SIGKILL)
        self._engines[name] = await self._engine()
        await self.publish()

    async def publish(self) -> None:
        await self._grid.serve(*(_replica(name, engine) for name, engine in self._engines.items()))

    async def _engine(self) -> SpawnedEngine:
        arguments = ("--sim-itl", "0.005", "--sim-concurrency", "200", "--sim-output-tokens", str(TOKENS))
        engine = await self._stack.enter_async_context(spawned("m", *arguments, "--enable-log-requests"))
        self._all.append(engine)
        return engine


def _replica(name: str, engine: SpawnedEngine) -> Replica:
    url = urlsplit(engine.url)
    assert url.hostname is not None
    assert url.port is not None
    return Replica(id=name, host=url.hostname, port=url.port)


async def soak(folder: Path, seconds: float, *, clients: int, pause: float, seed: int = 0) -> Soaked:
    """Run the load of so many clients, each with a `pause` (seconds) before a request, and return what was found.
    Raises nothing for wrong answers: they are in the result."""
    found = Soaked(seconds)
    async with AsyncExitStack() as stack:
        grid = await stack.enter_async_context(gateway(folder))
        fleet = _Fleet(grid, stack)
        await fleet.start()
        process = psutil.Process(grid.pid)
        before = await _left(grid, process)
        end = time.monotonic() + seconds
        load = [asyncio.create_task(_client(grid, found, random.Random(seed + n), end, pause)) for n in range(clients)]
        others = [
            asyncio.create_task(_kill_in_turn(fleet, found, end)),
            asyncio.create_task(_watch(process, found, end)),
        ]
        await asyncio.gather(*load, *others)
        after = await _left(grid, process)
        found.descriptors, found.threads, found.tasks = zip(before, after, strict=True)
        found.received = await fleet.received()
    return found


async def _left(grid: Gateway, process: psutil.Process) -> tuple[int, int, float]:
    """Wait until nothing is in flight or open but the connection that asks, and return descriptors, threads, tasks.
    Engines close what idles for 5 s, so that nothing has to be taken away from the descriptors."""
    await grid.idle()
    await grid.wait_for_metric("modelgrid_client_connections", 1)
    for number in range(REPLICAS):
        await grid.wait_for_metric(f'modelgrid_upstream_idle_connections{{replica="replica-{number}"}}', 0)
    await grid.wait_for_metric("modelgrid_gateway_tasks", TASKS)  # the routing table is saved by one more
    tasks = (await grid.metrics())["modelgrid_gateway_tasks"]
    return process.num_fds(), process.num_threads(), tasks


async def _kill_in_turn(fleet: _Fleet, found: Soaked, end: float) -> None:
    number, pause = 0, KILL_SECONDS / 2
    while time.monotonic() + pause + LOAD_AFTER_KILL_SECONDS < end:
        await asyncio.sleep(pause)
        pause = KILL_SECONDS
        await fleet.kill_one(f"replica-{number % REPLICAS}")
        found.counts["kills"] += 1
        number += 1


async def _watch(process: psutil.Process, found: Soaked, end: float) -> None:
    while time.monotonic() < end:
        found.rss.append(process.memory_info().rss)
        await asyncio.sleep(1.0)


async def _client(grid: Gateway, found: Soaked, dice: random.Random, end: float, pause: float) -> None:
    while time.monotonic() < end:
        async with grid.client() as client:
            for _ in range(dice.randint(1, 20)):
                await asyncio.sleep(pause * 2 * dice.random())
                if time.monotonic() >= end or not await _one(client, found, dice):
                    break


async def _one(client: Client, found: Soaked, dice: random.Random) -> bool:
    """One request; return whether the connection can carry another."""
    found.sent += 1
    stream = dice.random() < 0.5
    body = asked_for(
        found.sent,
        dice.randint(1, 200),
        dice.randint(LEAST_TOKENS, TOKENS),
        stream=stream,
        usage=stream and dice.random() < 0.5,
    )
    await client.send(request("POST", "/v1/chat/completions", body))
    if dice.random() < 0.15:
        await asyncio.sleep(dice.random() * 0.05)
        client.reset()
        found.counts["cancelled"] += 1
        return False
    try:
        answer = await client.response()
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        found.wrong.append(f"no answer: {error!r}")
        return False
    wrong = problem(answer.status, answer.body, answer.complete, body)
    if wrong == FAILED:
        found.counts["failed"] += 1
    elif wrong:
        found.wrong.append(wrong)
    else:
        found.counts["streamed" if stream else "whole"] += 1
        found.answered.append(id_of(answer.body))
    return not wrong and answer.header("connection") != "close"  # a broken stream takes its connection along
