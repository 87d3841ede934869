"""Mixed load on one gateway for as long as it is told: streams, whole answers, clients that leave, replicas that are
killed. Every answer is checked against what the simulator must have said; at the end nothing is left over."""

import asyncio
import json
import random
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from gateway_kit import Client, Gateway, gateway, request

from modelgrid.domain.routing import Replica
from modelgrid.simulator.spawn import SpawnedEngine, spawned

REPLICAS = 3
KILL_SECONDS = 20.0
LOAD_AFTER_KILL_SECONDS = 5.0
TOKENS = 30
WRONG_SHOWN = 20


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
    descriptors: tuple[int, int] = (0, 0)
    threads: tuple[int, int] = (0, 0)
    """Before the load, and after it when all was quiet."""

    def __str__(self) -> str:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
        third = len(self.rss) // 3
        early, late = max(self.rss[third : 2 * third]) / 1e6, max(self.rss[2 * third :]) / 1e6
        return (
            f"{self.seconds:.0f} s: {told}; {len(self.wrong)} wrong; "
            f"RSS {early:.1f} → {late:.1f} MB (second, last third); "
            f"descriptors {self.descriptors[0]} → {self.descriptors[1]}, threads {self.threads[0]} → {self.threads[1]}"
        )


class _Fleet:
    """Simulated engines behind the gateway; each is killed in its turn and comes back under its own id."""

    def __init__(self, grid: Gateway, stack: AsyncExitStack) -> None:
        self._grid = grid
        self._stack = stack
        self._engines: dict[str, SpawnedEngine] = {}

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
        return await self._stack.enter_async_context(
            spawned("m", "--sim-itl", "0.005", "--sim-concurrency", "200", "--sim-output-tokens", str(TOKENS))
        )


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
        found.descriptors = (process.num_fds(), 0)
        found.threads = (process.num_threads(), 0)
        end = time.monotonic() + seconds
        load = [asyncio.create_task(_client(grid, found, random.Random(seed + n), end, pause)) for n in range(clients)]
        others = [
            asyncio.create_task(_kill_in_turn(fleet, found, end)),
            asyncio.create_task(_watch(process, found, end)),
        ]
        await asyncio.gather(*load, *others)
        await grid.idle()
        found.descriptors = (found.descriptors[0], process.num_fds())
        found.threads = (found.threads[0], process.num_threads())
    return found


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
    tokens = dice.randint(1, TOKENS)
    body: dict[str, Any] = {
        "model": "m",
        "messages": [{"role": "user", "content": "words " * dice.randint(1, 200)}],
        "max_tokens": tokens,
        "stream": dice.random() < 0.5,
    }
    if body["stream"] and dice.random() < 0.5:
        body["stream_options"] = {"include_usage": True}
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
    problem = _problem(answer.status, answer.body, answer.complete, body)
    if problem == "failed":
        found.counts["failed"] += 1
    elif problem:
        found.wrong.append(problem)
    else:
        found.counts["streamed" if body["stream"] else "whole"] += 1
    return not problem and answer.header("connection") != "close"  # a broken stream takes its connection along


def _problem(status: int, data: bytes, complete: bool, asked: dict[str, Any]) -> str:  # noqa: PLR0911 (one per rule)
    """Return what is wrong with an answer; `failed` for an honest error, empty when it is right."""
    if status in {502, 503}:
        return "failed" if complete and json.loads(data)["error"]["code"] in _HONEST else f"{status} {data[:200]!r}"
    if status != 200:
        return f"{status} {data[:200]!r}"
    if not asked["stream"]:
        return _whole(data, complete, asked["max_tokens"])
    events = [event[6:] for event in data.decode().split("\n\n") if event.startswith("data: ")]
    if not complete:
        return f"a stream without its end: {events[-1:]}"
    if events and "error" in (last := _json(events[-1])):
        return "failed" if last["error"]["code"] in _HONEST else f"stream: {events[-1]}"
    if not events or events[-1] != "[DONE]":
        return f"a stream ended without [DONE] and without an error: {events[-1:]}"
    chunks = [json.loads(event) for event in events[:-1]]
    if len({chunk["id"] for chunk in chunks}) != 1:
        return "chunks of two answers in one stream"
    usage = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    wanted = bool(asked.get("stream_options"))
    if bool(usage) != wanted:
        return f"usage {usage} where it was {'' if wanted else 'not '}asked for"
    if usage and usage[-1]["completion_tokens"] > asked["max_tokens"]:
        return f"{usage[-1]} for {asked['max_tokens']} tokens"
    finishes = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    return "" if len(finishes) == 1 else f"{len(finishes)} finish reasons"


_HONEST = {"replica_failed", "model_unreachable", "queue_timeout"}
"""What a request may be told when its replica was killed."""


def _whole(data: bytes, complete: bool, tokens: int) -> str:
    if not complete:
        return "an answer was cut"
    usage = json.loads(data)["usage"]
    return "" if 0 < usage["completion_tokens"] <= tokens else f"{usage} for {tokens} tokens"


def _json(text: str) -> dict[str, Any]:
    with suppress(json.JSONDecodeError):
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    return {}
