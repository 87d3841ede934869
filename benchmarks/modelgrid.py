"""ModelGrid's gateway as a process, with everything switched on; this process is its supervisor and its control."""

import asyncio
import hashlib
import os
import secrets
import socket
import sys

from benchmarks.machine import pinned
from benchmarks.peers import Place
from modelgrid import __version__
from modelgrid.domain.routing import KeyGrant, ModelRoute, ModelState, Replica, RoutingTable
from modelgrid.gateway import compiled
from modelgrid.gateway.link import ControlLink
from modelgrid.services.api_keys import make_secret

NAME = "modelgrid"
DOES = "key, limits, model and prefix routing, usage, metrics"
PLENTY = 1_000_000_000
"""A limit that is checked and never reached."""


def version() -> str:
    """Return ModelGrid's version, and in which form its gateway runs."""
    form = "interpreted" if os.environ.get(compiled.PURE) or not compiled.place().is_dir() else "compiled"
    return f"{__version__}, {form}"


def secret() -> str:
    """Return a key of the product's own form."""
    return make_secret(secrets.randbits(190))


def table(place: Place) -> RoutingTable:
    """Return what control would publish: one model with two replicas, one key with every limit it can have."""
    replicas = tuple(
        Replica(id=f"replica-{number}", host="127.0.0.1", port=port) for number, port in enumerate(place.replicas)
    )
    key = KeyGrant(
        id="bench",
        label="bench",
        digest=hashlib.sha256(place.key.encode()).hexdigest(),
        models=("bench",),
        requests_per_minute=PLENTY,
        tokens_per_minute=PLENTY,
        concurrent_requests=PLENTY,
    )
    model = ModelRoute(id="bench", names=("bench",), state=ModelState.READY, created=1_790_000_000, replicas=replicas)
    return RoutingTable(epoch=secrets.token_hex(8), generation=1, models=(model,), keys=(key,))


class ModelGrid:
    """Its processes, one for each of `cores` (default: one on the place's core). `stop` ends them."""

    def __init__(self, place: Place, cores: tuple[int, ...] = ()) -> None:
        self._place = place
        self._cores = cores or (place.core,)
        self._folder = place.folder / NAME
        self._link = ControlLink(self._folder / "control.sock", lambda _: None)
        self._board = os.memfd_create("board")
        self._processes: list[asyncio.subprocess.Process] = []

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    @property
    def pid(self) -> int:
        return self.pids[0]

    @property
    def ended(self) -> bool:
        return not self._processes or any(process.returncode is not None for process in self._processes)

    async def start(self) -> None:
        self._folder.mkdir(exist_ok=True)
        await self._link.start()
        self._link.publish(table(self._place))
        for index, core in enumerate(self._cores):
            await self._start(index, core)

    async def _start(self, index: int, core: int) -> None:
        several = len(self._cores) > 1
        with socket.create_server(("127.0.0.1", self._place.port), backlog=4096, reuse_port=several) as listening:
            argv = [
                sys.executable, "-m", "modelgrid.gateway", "--index", str(index), "--fd", str(listening.fileno()),
                "--link", str(self._folder / "control.sock"), "--cache", str(self._folder / f"routing-{index}.msgpack"),
                "--board", str(self._board), "--workers", str(len(self._cores)),
            ]  # fmt: skip
            with (self._folder / f"gateway-{index}.log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *pinned(core, argv),
                    stdout=log, stderr=log, pass_fds=[listening.fileno(), self._board],
                    cwd=self._folder, env=os.environ,
                )  # fmt: skip
        self._processes.append(process)

    async def stop(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.terminate()
            await process.wait()
        await self._link.close()
        os.close(self._board)
