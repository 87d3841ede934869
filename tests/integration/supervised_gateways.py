"""Several gateway processes under the real supervisor, with the test as their control."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
from gateway_kit import PATIENCE, Gateway, until
from tests.ports import free_port

from modelgrid.domain.routing import GatewayReport, GatewaySettings, ModelRoute, Replica
from modelgrid.supervisor import ChildPlan, Listen, Plan


class SupervisedGateways(Gateway):
    """As `Gateway`, with `workers` processes on one port. `process` is the supervisor."""

    workers = 2

    def __post_init__(self) -> None:
        self.port = free_port()
        self.log = self.folder / "gateway.log"

    async def start(self, *_: int, **environment: str) -> None:
        children = [
            ChildPlan(
                name=f"gateway-{index}",
                argv=[
                    *(sys.executable, "-m", "modelgrid.gateway", "--index", str(index), "--fd", f"{{fd:api:{index}}}"),
                    *("--board", "{fd:board:0}", "--workers", str(self.workers)),
                    *("--link", str(self.folder / "control.sock")),
                    *("--cache", str(self.folder / f"routing-{index}.msgpack")),
                ],
            )
            for index in range(self.workers)
        ]
        listen = Listen(name="api", host="127.0.0.1", port=self.port, count=self.workers, waits=True)
        again = self.folder / "plan.json"
        plan = Plan(
            lock=str(self.folder / "lock"),
            listen=[listen],
            shared=["board"],
            children=children,
            again=["cat", str(again)],
        )
        again.write_text(json.dumps(plan))
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "modelgrid.supervisor", json.dumps(plan),
                stderr=log, stdout=log, env=os.environ | environment,
            )  # fmt: skip

    @property
    def pids(self) -> set[int]:
        """The gateway processes, old ones that still drain included."""
        found = set()
        for child in psutil.Process(self.pid).children():
            with suppress(psutil.NoSuchProcess):  # it has just ended
                if child.status() != psutil.STATUS_ZOMBIE:
                    found.add(child.pid)
        return found

    @property
    def newest(self) -> dict[int, GatewayReport]:
        """The last report of each living gateway process."""
        pids = self.pids
        return {report.pid: report for report in self.reports if report.pid in pids}

    async def publish(self, *models: ModelRoute) -> None:
        assert self.link is not None
        self.models = models
        table = self.table()
        self.link.publish(table)
        await self.all_use(table.generation)

    async def all_use(self, generation: int) -> None:
        """Wait until every gateway serves by that table."""
        await until(
            lambda: [r.generation for r in self.newest.values() if not r.draining] == [generation] * self.workers,
            f"{self.workers} gateways use table {generation}",
        )

    async def roll(self) -> None:
        """SIGHUP, and wait until every process is a new one."""
        before = self.pids
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        await until(
            lambda: len(self.pids) == self.workers and not self.pids & before, "all gateways are new ones", 2 * PATIENCE
        )
        await self.all_use(self.generation)

    def close(self) -> None:
        pass


@asynccontextmanager
async def gateways(folder: Path, *replicas: Replica, **settings: object) -> AsyncIterator[SupervisedGateways]:
    """Two gateways that serve model `m` with `replicas`. Their log must hold no error when they end."""
    grid = SupervisedGateways(folder, GatewaySettings(**settings))  # type: ignore[arg-type]
    try:
        await grid.start_control()
        await grid.start()
        await grid.serve(*replicas)
        yield grid
        assert await grid.stop() == 0
    finally:
        if grid.process is not None and grid.process.returncode is None:
            await grid.kill()
        await grid.stop_control()
    log = grid.log.read_text()
    assert "Traceback" not in log, log
    assert "level=error" not in log, log
