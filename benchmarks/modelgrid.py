"""ModelGrid's gateway as a process, with everything switched on; this process is its supervisor and its control."""

import asyncio
import hashlib
import os
import secrets
import socket
import sys

from benchmarks.machine import pinned
from benchmarks.peers import Place
from modelgrid.domain.routing import KeyGrant, ModelRoute, ModelState, Replica, RoutingTable
from modelgrid.gateway.link import ControlLink
from modelgrid.services.api_keys import make_secret

NAME = "modelgrid"
DOES = "key, limits, model and prefix routing, usage, metrics"
PLENTY = 1_000_000_000
"""A limit that is checked and never reached."""


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
    """The process. `stop` ends it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._folder = place.folder / NAME
        self._link = ControlLink(self._folder / "control.sock", lambda _: None)
        self._board = os.memfd_create("board")
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.returncode is not None

    async def start(self) -> None:
        self._folder.mkdir(exist_ok=True)
        await self._link.start()
        self._link.publish(table(self._place))
        with socket.create_server(("127.0.0.1", self._place.port), backlog=4096) as listening:
            argv = [
                sys.executable, "-m", "modelgrid.gateway", "--index", "0", "--fd", str(listening.fileno()),
                "--link", str(self._folder / "control.sock"), "--cache", str(self._folder / "routing.msgpack"),
                "--board", str(self._board),
            ]  # fmt: skip
            with (self._folder / "gateway.log").open("wb") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *pinned(self._place.core, argv),
                    stdout=log, stderr=log, pass_fds=[listening.fileno(), self._board],
                    cwd=self._folder, env=os.environ,
                )  # fmt: skip

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        await self._link.close()
        os.close(self._board)
