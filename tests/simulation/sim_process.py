"""A daemon that can be killed at any moment: what it was doing stops there, and only what was stored is left."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from memory_store import MemoryStore

WRITE_SECONDS = 0.004
"""Most that a write takes. Half of it before it is durable, half of it before the caller knows."""


class Process:
    def __init__(self, name: str, store: MemoryStore, rng: random.Random) -> None:
        self.name = name
        self.store = _StoreOf(self, store, rng)
        self.dead = False
        self.started_at = asyncio.get_running_loop().time()
        self._tasks: list[asyncio.Task[Any]] = []

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run something for as long as the process lives."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks = [item for item in self._tasks if not item.done()]
        self._tasks.append(task)
        return task

    def kill(self) -> None:
        self.dead = True
        for task in self._tasks:
            task.cancel()

    def failures(self) -> list[BaseException]:
        """Return what ended a task that should have gone on."""
        done = [task for task in self._tasks if task.done() and not task.cancelled()]
        return [error for task in done if (error := task.exception()) is not None]


class _StoreOf:
    """A process' own connection. When the process is dead, whatever it still tries comes to nothing."""

    def __init__(self, process: Process, store: MemoryStore, rng: random.Random) -> None:
        self._process = process
        self._store = store
        self._rng = rng

    def on_events(self, listener: Callable[..., None]) -> None:
        return None

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        call = getattr(self._store, name)

        async def through(*arguments: Any, **named: Any) -> Any:
            if name in _READS:
                return await call(*arguments, **named)
            await self._alive(self._rng.random() * WRITE_SECONDS / 2)
            done = await call(*arguments, **named)
            await self._alive(self._rng.random() * WRITE_SECONDS / 2)
            return done

        return through

    async def _alive(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self._process.dead:
            await asyncio.get_running_loop().create_future()


_READS = frozenset({
    "targets", "deployments", "history", "history_record", "events", "members", "join_tokens", "node_status",
    "settings",
})  # fmt: skip
