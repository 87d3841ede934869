"""A relay in front of a server, which can fall silent or refuse as the server itself would: a hung or stopped
container engine, a registry on a slow line. It runs in a thread of its own."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

Address = Path | tuple[str, int]
"""A Unix socket, or a TCP address."""

PIECE = 64 * 1024
PIECE_SECONDS = 0.02
"""Time that a piece takes on a bounded line, so about 3 MB/s: Docker tells progress ten times a second at most, and
what comes faster is not told before the line falls silent."""

T = TypeVar("T")


class Relay:
    """Passes connections on to `target`. All calls are safe from any thread and have taken effect when they return."""

    def __init__(self, listen: Address, target: Address) -> None:
        self._listen = listen
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"relay to {target}", daemon=True)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._budget: int | None = None
        self._more = asyncio.Event()
        self.passed = 0
        """Bytes that came from the target so far."""

    def start(self) -> None:
        self._thread.start()
        self._run(self._open())

    def hold(self) -> None:
        """Accept connections and pass nothing on, in either direction: the server hangs."""
        self._run(self._set(self._passing.clear))

    def release(self) -> None:
        """Pass everything on again, what was held first."""

        def everything() -> None:
            self._budget = None
            self._more.set()
            self._passing.set()

        self._run(self._set(everything))

    def allow(self, count: int) -> None:
        """Let about `count` more bytes come from the target, and then no more until `release`."""

        def bounded() -> None:
            self._budget = count

        self._run(self._set(bounded))

    def refuse(self) -> None:
        """Close every connection and listen no more: the server is stopped."""
        self._run(self._shut())

    def admit(self) -> None:
        """Listen again after `refuse`."""
        self._run(self._open())

    @property
    def connections(self) -> int:
        return len(self._connections)

    def close(self) -> None:
        self._run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    @staticmethod
    async def _set(action: Callable[[], None]) -> None:
        action()

    async def _open(self) -> None:
        self._passing.set()
        self._more.set()
        if isinstance(self._listen, Path):
            self._listen.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._connected, self._listen)
        else:
            self._server = await asyncio.start_server(self._connected, *self._listen)

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._relay(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # one side is gone, or the relay is being closed
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opening = (
            asyncio.open_unix_connection(self._target)
            if isinstance(self._target, Path)
            else asyncio.open_connection(*self._target)
        )
        there_reader, there_writer = await opening
        up = asyncio.create_task(self._pump(reader, there_writer, bounded=False))
        down = asyncio.create_task(self._pump(there_reader, writer, bounded=True))
        try:
            # Neither side says its last word before it closes, so whoever ends first ends the connection.
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            writer.close()
            async with asyncio.timeout(5):
                await writer.wait_closed()
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            there_writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, bounded: bool) -> None:
        while piece := await source.read(PIECE):
            await self._passing.wait()
            while bounded and self._budget is not None and self._budget <= 0:
                self._more.clear()
                await self._more.wait()
            if bounded:
                self.passed += len(piece)
                if self._budget is not None:
                    self._budget -= len(piece)
                    await asyncio.sleep(PIECE_SECONDS)
            sink.write(piece)
            await sink.drain()


@contextlib.contextmanager
def relay(listen: Address, target: Address) -> Iterator[Relay]:
    made = Relay(listen, target)
    made.start()
    try:
        yield made
    finally:
        made.close()
