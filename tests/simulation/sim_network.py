"""The network between machines: delays, loses, cuts in one direction or both, and says when nobody listens."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from sim_process import Process

from modelgrid.domain.cluster import Orders, Report, SharedRouting
from modelgrid.domain.errors import ControlPlaneUnreachable, ModelGridError

CALL_SECONDS = 10.0
HELD_SECONDS = 25.0


class Network:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.cut: set[tuple[str, str]] = set()
        """(from, to): nothing gets through."""
        self.lossy = True

    def _delay(self) -> float:
        if self.lossy and self._rng.random() < 0.02:
            return self._rng.uniform(0.5, 8.0)
        return self._rng.uniform(0.0005, 0.02)

    def _arrives(self, source: str, target: str) -> bool:
        return (source, target) not in self.cut and not (self.lossy and self._rng.random() < 0.02)

    async def call(
        self,
        source: Process,
        machine: str,
        target: Callable[[], Process | None],
        is_up: Callable[[], bool],
        work: Callable[[Process], Coroutine[Any, Any, Any]],
        within: float,
    ) -> Any:
        """Have `work` done by the process that `target` finds, and return its answer. It is done once, never or twice;
        who asks cannot tell, and may be dead when the answer is there."""
        try:
            async with asyncio.timeout(within):
                await asyncio.sleep(self._delay())
                if not self._arrives(source.name, machine) or not is_up():
                    await asyncio.get_running_loop().create_future()
                process = target()
                if process is None:
                    if not self._arrives(machine, source.name):
                        await asyncio.get_running_loop().create_future()
                    raise ControlPlaneUnreachable("Nobody listens there.", refused=True)
                done = process.spawn(work(process))
                if self.lossy and self._rng.random() < 0.01:
                    process.spawn(self._again(process, work))
                await asyncio.wait({done})
                if done.cancelled():
                    raise ControlPlaneUnreachable("The connection was reset.")
                if (error := done.exception()) is not None:
                    raise error
                await asyncio.sleep(self._delay())
                if not self._arrives(machine, source.name):
                    await asyncio.get_running_loop().create_future()
                return done.result()
        except TimeoutError as error:
            raise ControlPlaneUnreachable(f"No answer within {within:g} s.") from error

    async def _again(self, process: Process, work: Callable[[Process], Coroutine[Any, Any, Any]]) -> None:
        """Somebody recorded the message and sends it once more."""
        await asyncio.sleep(self._rng.uniform(0.01, 20.0))
        try:
            await work(process)
        except ModelGridError:
            return


class Link:
    """A node's way to the control plane: `ports.ControlPlaneLink`."""

    def __init__(self, network: Network, source: Process, control: Any) -> None:
        self._network = network
        self._source = source
        self._control = control

    async def _ask(self, work: Callable[[Any], Coroutine[Any, Any, Any]], within: float) -> Any:
        control = self._control
        return await self._network.call(
            self._source,
            control.name,
            lambda: control.process if control.serves else None,
            lambda: control.machine_up,
            lambda _: work(control.services),
            within,
        )

    async def heartbeat(self, report: Report, within: float) -> Orders:
        return await self._ask(  # type: ignore[no-any-return]
            lambda services: services.control.heartbeat(report.node.name, report), within
        )

    async def orders(self, epoch: int, sequence: int) -> Orders | None:
        name = self._source.name

        def held(services: Any) -> Coroutine[Any, Any, Any]:
            return services.orders.newer(name, epoch, sequence, wait_seconds=HELD_SECONDS)  # type: ignore[no-any-return]

        return await self._ask(held, HELD_SECONDS + CALL_SECONDS)  # type: ignore[no-any-return]

    async def routing(self, epoch: int, generation: int) -> SharedRouting | None:
        await asyncio.get_running_loop().create_future()
        return None

    async def leave(self) -> None: ...

    async def close(self) -> None: ...
