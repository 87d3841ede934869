"""Timeouts of every connection by one coarse sweep.

A request changes its deadline several times (head, body, first byte, idle, keep-alive). With one timer of the event
loop each, that costs more than the routing. Here a deadline is an attribute: moving it is an assignment, and a sweep
every `TICK_SECONDS` looks at all connections (10,000 of them: 0.13 ms). Timeouts are off by at most one tick.

What counts is time in which this process could listen. After it stood still, what clients sent meanwhile waits in their
sockets, unread: nobody is cut off for being late then.
"""

import asyncio
import time
from collections.abc import Callable
from math import inf
from typing import Final, Protocol

TICK_SECONDS: Final = 0.25
"""Coarse against the shortest timeout in use (seconds), fine against what a person notices."""

LONGEST_TICK_SECONDS: Final = 2 * TICK_SECONDS
"""A tick that comes later counts as one that came then."""

NEVER: Final = inf


class Timed(Protocol):
    """Something with a deadline."""

    deadline: float
    """On the clock of `Deadlines.now`; `NEVER` when nothing is awaited."""

    def on_deadline(self) -> None:
        """Called once when the deadline has passed; `deadline` is `NEVER` by then and may be set again."""


class Deadlines:
    """The sweep. For use in the event loop's thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: set[Timed] = set()
        self._on_tick: list[Callable[[], None]] = []
        self._handle: asyncio.TimerHandle | None = None
        self.clock = loop.time()
        """The loop's clock at the last tick, for what has to pass whoever listened."""
        self.now = 0.0
        """Seconds of listening until the last tick: good enough to set deadlines by, and free."""
        self.wall = time.time()
        """Unix time at the last tick."""

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, item: Timed) -> None:
        """Look at `item.deadline` on every tick from now on."""
        self._watched.add(item)

    def forget(self, item: Timed) -> None:
        """Stop looking at `item`; nothing happens when it is not watched."""
        self._watched.discard(item)

    def on_tick(self, call: Callable[[], None]) -> None:
        """Call `call` on every tick from now on. It must not block."""
        self._on_tick.append(call)

    def start(self) -> None:
        """Begin to tick."""
        self.clock = self._loop.time()
        self._handle = self._loop.call_later(TICK_SECONDS, self._tick)

    def stop(self) -> None:
        """End the ticks."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self) -> None:
        self._handle = self._loop.call_later(TICK_SECONDS, self._tick)  # first: an error below must not end the ticks
        before, self.clock = self.clock, self._loop.time()
        self.now = now = self.now + min(self.clock - before, LONGEST_TICK_SECONDS)
        self.wall = time.time()
        for call in self._on_tick:
            call()
        for item in [item for item in self._watched if item.deadline <= now]:
            if item.deadline <= now:  # an earlier one of this tick may have moved it
                item.deadline = NEVER
                item.on_deadline()
