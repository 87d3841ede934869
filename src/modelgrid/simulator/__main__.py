"""`python -m modelgrid.simulator serve MODEL …`: one simulated engine as a process of its own."""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence

import uvloop

from modelgrid.simulator import log
from modelgrid.simulator.gpu_state import Claim, read_claims, remove_claim, start_ticks, write_claim
from modelgrid.simulator.http import Connection
from modelgrid.simulator.loading import LoadFailure, load
from modelgrid.simulator.server import VERSION, Server
from modelgrid.simulator.settings import EngineSettings, parse_settings

_TICK_SECONDS = 1.0
_STATS_TICKS = 10
"""vLLM logs its throughput every ten seconds, and only while there is some."""
_FLUSH_SECONDS = 0.5
"""How long a dying engine waits for answers that are written and not yet sent."""


class _Process:
    """The life of the process: load, serve, end."""

    def __init__(self, settings: EngineSettings, ignored: tuple[str, ...]) -> None:
        self._settings = settings
        self._ignored = ignored
        self._ending = asyncio.Event()
        self._code = 0
        self._claim: Claim | None = None

    async def run(self) -> int:
        """Return the exit status."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        log.info("simulator", "This is a SIMULATED engine: no model is loaded and answers are made up.")
        log.info("api_utils.py:327", f"vLLM server version {VERSION}, serving model {settings.model}")
        if self._ignored:
            log.warning("simulator", f"Arguments that a simulated engine ignores: {' '.join(self._ignored)}")
        # vLLM binds the port before it loads and listens after: until then connections are refused.
        with _bind(settings.host, settings.port) as listener:
            try:
                if not await self._load():
                    return 0
                return await self._serve(listener, loop)
            except LoadFailure as failure:
                return failure.code
            finally:
                if settings.gpu_state_dir:
                    remove_claim(settings.gpu_state_dir, os.getpid())

    async def _load(self) -> bool:
        """Return whether it was loaded; not when asked to end meanwhile."""
        loading = asyncio.create_task(load(self._settings, self._publish, self._held_by_others))
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait({loading, ending}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not loading.done():
            loading.cancel()
            log.info("launcher.py:258", "[shutdown] API server: shutdown triggered")
            return False
        loading.result()
        return True

    async def _serve(self, listener: socket.socket, loop: asyncio.AbstractEventLoop) -> int:
        settings = self._settings
        server = Server(settings, loop, die=self._die, kill=_kill)
        listening = await loop.create_server(lambda: Connection(server, loop), sock=listener, backlog=2048)
        name = f"[{settings.host}]" if ":" in settings.host else settings.host
        log.info("entry.py:140", f"Starting vLLM server on http://{name}:{listener.getsockname()[1]}")
        log.plain(f"INFO:     Started server process [{os.getpid()}]")
        log.plain("INFO:     Waiting for application startup.")
        log.plain("INFO:     Application startup complete.")
        # What is here now stays; requests make no cycles, so the collector has little to find.
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        ticking = asyncio.create_task(self._tick(server, loop))
        await self._ending.wait()
        log.info("launcher.py:258", "[shutdown] API server: shutdown triggered")
        listening.close()
        ticking.cancel()
        grace = settings.shutdown_seconds if not self._code else _FLUSH_SECONDS
        for connection in tuple(server.connections):
            connection.close_when_idle()
        try:
            async with asyncio.timeout(grace):
                await server.deserted.wait()
        except TimeoutError:
            for connection in tuple(server.connections):
                connection.abort()
        log.plain("INFO:     Application shutdown complete.")
        return self._code

    async def _tick(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        """Once a second: publish the load, close idle connections; every ten seconds log the throughput."""
        busy = prompts = generated = 0.0
        was_idle, ticks = True, 0
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            ticks += 1
            engine, metrics = server.engine, server.metrics
            now_busy = engine.busy_seconds()
            share = min(1.0, (now_busy - busy) / _TICK_SECONDS)
            busy = now_busy
            # A decode step keeps a GPU mostly busy however small the batch; the batch does the rest.
            batch = min(1.0, engine.running / self._settings.max_sequences)
            self._publish(self._settings.reserved_bytes, utilization=round(share * (55 + 45 * batch), 1))
            deadline = loop.time() - self._settings.keep_alive_seconds
            for connection in tuple(server.connections):
                if connection.idle_since is not None and connection.idle_since < deadline:
                    connection.close_when_idle()
            if ticks % _STATS_TICKS:
                continue
            seconds = _STATS_TICKS * _TICK_SECONDS
            idle = metrics.prompt_tokens == prompts and metrics.generation_tokens == generated
            if not (idle and was_idle):
                rate = 100 * engine.cache_hits / engine.cache_queries if engine.cache_queries else 0.0
                log.info(
                    "loggers.py:271",
                    f"Engine 000: Avg prompt throughput: {(metrics.prompt_tokens - prompts) / seconds:.1f} tokens/s, "
                    f"Avg generation throughput: {(metrics.generation_tokens - generated) / seconds:.1f} tokens/s, "
                    f"Running: {engine.running} reqs, Waiting: {engine.waiting} reqs, "
                    f"GPU KV cache usage: {100 * engine.cache_usage:.1f}%, Prefix cache hit rate: {rate:.1f}%",
                )
            was_idle, prompts, generated = idle, metrics.prompt_tokens, metrics.generation_tokens

    def _publish(self, held: int, *, utilization: float = 0.0) -> None:
        settings = self._settings
        if not settings.gpu_state_dir or not settings.gpu_ids:
            return
        claim = Claim(
            pid=os.getpid(),
            start_ticks=start_ticks(os.getpid()),
            name=f"simulated vLLM {settings.served_names[0]}",
            bytes_by_gpu=dict.fromkeys(settings.gpu_ids, held),
            utilization=utilization,
        )
        if claim != self._claim:
            write_claim(settings.gpu_state_dir, claim)
            self._claim = claim

    def _held_by_others(self) -> int:
        settings = self._settings
        if not settings.gpu_state_dir:
            return 0
        others = [claim for claim in read_claims(settings.gpu_state_dir) if claim.pid != os.getpid()]
        return max((sum(claim.bytes_by_gpu.get(gpu, 0) for claim in others) for gpu in settings.gpu_ids), default=0)

    def _die(self, reason: str) -> None:
        log.error("core.py:1260", f"EngineCore encountered a fatal error.\n{reason}")
        log.error(
            "async_llm.py:700",
            "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. "
            "See stack trace (above) for the root cause.",
            process="APIServer",
        )
        self._code = 1
        self._ending.set()


def _bind(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(argv: Sequence[str]) -> int:
    """Serve until asked to end. Return the exit status."""
    settings, ignored = parse_settings(argv)
    try:
        return uvloop.run(_Process(settings, ignored).run())
    except OSError as error:
        if error.errno is None:
            raise
        # As Python reports what vLLM does not catch: [Errno 98] Address already in use.
        log.plain(f"OSError: [Errno {error.errno}] {os.strerror(error.errno)}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
