"""An event loop whose clock jumps to the next thing that happens, and a machine's clock on it.

Nothing here waits, and nothing depends on the machine it runs on: the same coroutines with the same seed do the same
things in the same order.
"""

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

EPOCH = 1_800_000_000.0
"""What wall clocks say when a simulation begins."""


class _Nothing(selectors.SelectSelector):
    """No file, socket or signal ever has anything to say."""

    def select(self, timeout: float | None = None) -> list[Any]:
        return []


class Deadlock(AssertionError):
    """Everybody waits for somebody else, and nothing is planned."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Calls `after_each` whenever a turn of the loop is over."""

    def __init__(self) -> None:
        super().__init__(_Nothing())
        self._virtual = 0.0
        self.after_each: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self._virtual

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        """Threads would take turns as they like: the work is done at once."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  given on to whoever waits
            future.set_exception(error)
        return future

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        if not ready:
            planned = [handle.when() for handle in scheduled if not handle.cancelled()]
            if not planned:
                raise Deadlock
            self._virtual = max(self._virtual, min(planned))
        super()._run_once()  # type: ignore[misc]
        self.after_each()


class SimulatedClock:
    """The clocks of one machine: `offset` is how far its wall clock is off."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.offset = 0.0

    def now(self) -> float:
        return EPOCH + self._loop.time() + self.offset

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
