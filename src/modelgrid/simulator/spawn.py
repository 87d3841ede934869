"""Starts simulated engines as processes of their own, for tests, benchmarks and the demo."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping

_LISTENING = re.compile(r"Starting vLLM server on (http://\S+)")
_READY = "Application startup complete."


def command(model: str, *arguments: str) -> list[str]:
    """Return the argv of a simulated engine: that of `vllm serve` behind another program."""
    return [sys.executable, "-m", "modelgrid.simulator", "serve", model, *arguments]


class SpawnedEngine:
    """A running simulated engine and all that it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        """Lines of stdout and stderr, as they came."""
        self.url = ""
        """Base URL; empty until it listens."""
        self._grown = asyncio.Condition()
        self._ended = False
        self._reader = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        return self.process.pid

    async def wait_line(self, text: str, seconds: float = 20.0) -> str:
        """Return the first line that contains `text`. Raises `TimeoutError`, or `EOFError` when it ended without."""
        async with asyncio.timeout(seconds), self._grown:
            while True:
                for line in self.lines:
                    if text in line:
                        return line
                if self._ended:
                    raise EOFError(f"{text!r} was not printed; it printed:\n" + "\n".join(self.lines))
                await self._grown.wait()

    async def wait_ready(self, seconds: float = 20.0) -> None:
        """Return when it answers. Raises as `wait_line`."""
        await self.wait_line(_READY, seconds)

    async def wait_exit(self, seconds: float = 20.0) -> int:
        """Return the exit code, negative for a signal, when all output was read."""
        async with asyncio.timeout(seconds):
            await self._reader
            return await self.process.wait()

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal if it still runs, and return its exit code."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
        return await self.wait_exit()

    async def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 (we asked for the pipe)
        async for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip("\n")
            if found := _LISTENING.search(line):
                self.url = found[1]
            async with self._grown:
                self.lines.append(line)
                self._grown.notify_all()
        async with self._grown:
            self._ended = True
            self._grown.notify_all()


@contextlib.asynccontextmanager
async def spawned(
    model: str = "test/model",
    *arguments: str,
    ready: bool = True,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[SpawnedEngine]:
    """Run a simulated engine on a free port, without load time and latencies unless `arguments` say otherwise.

    With `ready` it is entered when the engine answers. Leaving kills what still runs."""
    quick = ("--port", "0", "--sim-load-seconds", "0", "--sim-ttft", "0", "--sim-itl", "0")
    process = await asyncio.create_subprocess_exec(
        *command(model, *quick, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(env or {})},
    )
    engine = SpawnedEngine(process)
    try:
        if ready:
            await engine.wait_ready()
        yield engine
    finally:
        await engine.stop(signal.SIGKILL)
