"""One machine of the simulated cluster: its GPUs, and the engines that are really there. `ports.Runtime` on it.

What is here is the truth that invariants are checked against; daemons only see it through the runtime, the readiness
probe and readings that lag.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field

from virtual_time import SimulatedClock, VirtualLoop

from modelgrid.domain.engine import (
    EngineExit,
    EngineLaunch,
    EngineRef,
    EngineState,
    EngineStats,
    EngineStatus,
    LogLine,
    PullProgress,
    RuntimeHealth,
)
from modelgrid.domain.gpu import Gpu, GpuInventory, GpuVendor
from modelgrid.domain.ids import DeploymentId, GpuId
from modelgrid.domain.target import RuntimeKind
from modelgrid.domain.units import GIB
from modelgrid.services.readiness import Answer

READING_SECONDS = 2.0


@dataclass
class Engine:
    ref: EngineRef
    launch: EngineLaunch
    ready_at: float
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    exit: EngineExit | None = None
    """Set when it does not run any more; it is still there until it is removed."""

    @property
    def runs(self) -> bool:
        return self.exit is None


class Machine:
    def __init__(
        self, name: str, gpus: int, gib: int, loop: VirtualLoop, rng: random.Random, changed: Callable[[str], None]
    ) -> None:
        self.name = name
        self.clock = SimulatedClock(loop)
        self.up = True
        self.calm = False
        """Engines start at once and do not fail."""
        self.engines: dict[str, Engine] = {}
        self._rng = rng
        self._changed = changed
        self._sizes = {GpuId(f"nvidia-{index}"): gib * GIB for index in range(gpus)}
        self._inventory: GpuInventory | None = None
        self._stopping = 0
        self._next_id = 0
        self._next_port = 41_000

    # hardware

    def used(self, gpu: GpuId) -> int:
        """Bytes that running engines take of a GPU, all of it from the start."""
        return sum(
            engine.launch.reserved_bytes
            for engine in self.engines.values()
            if engine.runs and gpu in {binding.id for binding in engine.launch.gpus}
        )

    @property
    def sizes(self) -> dict[GpuId, int]:
        return self._sizes

    def inventory(self) -> GpuInventory:
        """The last reading: up to `READING_SECONDS` old. Engines that load show half of what they will take."""
        now = self.clock.now()
        if self._inventory is None or abs(now - self._inventory.taken_at) >= READING_SECONDS:
            self._inventory = GpuInventory(taken_at=now, gpus=tuple(self._read(gpu) for gpu in self._sizes))
        return self._inventory

    def _read(self, gpu: GpuId) -> Gpu:
        now, used = self.clock.monotonic(), 0
        for engine in self.engines.values():
            if engine.runs and gpu in {binding.id for binding in engine.launch.gpus}:
                used += engine.launch.reserved_bytes // (1 if now >= engine.ready_at else 2)
        total, index = self._sizes[gpu], int(gpu.partition("-")[2])
        return Gpu(
            id=gpu,
            vendor=GpuVendor.NVIDIA,
            index=index,
            uuid=f"{self.name}-{index}",
            name=f"Card {total // GIB}G",
            vram_total_bytes=total,
            vram_used_bytes=used,
            vram_free_bytes=total - used,
        )

    @property
    def works(self) -> bool:
        """Whether an engine loads or is told to end: that takes the time that it takes."""
        now = self.clock.monotonic()
        return self._stopping > 0 or any(engine.runs and engine.ready_at > now for engine in self.engines.values())

    def power_off(self) -> None:
        self.up = False
        self.engines.clear()
        self._changed(f"{self.name} lost its power")

    def an_engine_dies(self) -> None:
        running = [engine for engine in self.engines.values() if engine.runs]
        if running:
            self._end(self._rng.choice(running), EngineExit(at=self.clock.now(), code=1))

    def _end(self, engine: Engine, how: EngineExit) -> None:
        if engine.runs:
            engine.exit = how
            engine.ended.set()
            self._changed(f"{self.name} engine of {engine.ref.deployment} ended")

    def port(self) -> int:
        self._next_port += 1
        return self._next_port

    # runtime

    kind = RuntimeKind.SIMULATED

    async def health(self) -> RuntimeHealth:
        raise NotImplementedError

    async def prepare(self, launch: EngineLaunch, progress: Callable[[PullProgress], None]) -> None:
        await self._takes(0.2, 6.0)

    async def start(self, launch: EngineLaunch) -> EngineRef:
        await self._takes(0.05, 1.0)
        for name, engine in list(self.engines.items()):
            if engine.ref.deployment == launch.deployment:
                if engine.ref.attempt == launch.attempt:
                    return engine.ref
                self._end(engine, EngineExit(at=self.clock.now(), signal=9))
                del self.engines[name]
        self._next_id += 1
        name = f"{self.name}-{self._next_id}"
        url = f"http://127.0.0.1:{launch.port}"
        ref = EngineRef(runtime=self.kind, id=name, deployment=launch.deployment, attempt=launch.attempt, url=url)
        loads = 0.2 if self.calm else self._rng.uniform(1.0, 20.0)
        self.engines[name] = Engine(ref=ref, launch=launch, ready_at=self.clock.monotonic() + loads)
        gpus = " ".join(binding.id for binding in launch.gpus)
        self._changed(f"{self.name} engine of {launch.deployment} started on {gpus}, attempt {launch.attempt}")
        await self._takes(0.05, 0.5)
        return ref

    async def find(self) -> tuple[EngineRef, ...]:
        await self._takes(0.01, 0.2)
        return tuple(engine.ref for engine in self.engines.values())

    async def inspect(self, ref: EngineRef) -> EngineStatus:
        engine = self.engines.get(ref.id)
        if engine is None:
            return EngineStatus(state=EngineState.GONE)
        return EngineStatus(state=EngineState.RUNNING if engine.runs else EngineState.EXITED, exit=engine.exit)

    async def wait(self, ref: EngineRef) -> EngineExit | None:
        engine = self.engines.get(ref.id)
        if engine is None:
            return None
        await engine.ended.wait()
        return engine.exit

    async def stop(self, ref: EngineRef, grace_seconds: float) -> None:
        engine = self.engines.get(ref.id)
        if engine is None or not engine.runs:
            return
        stubborn = not self.calm and self._rng.random() < 0.1
        self._stopping += 1
        try:
            await asyncio.sleep(grace_seconds if stubborn else min(grace_seconds, self._rng.uniform(0.05, 3.0)))
        finally:
            self._stopping -= 1
        self._end(engine, EngineExit(at=self.clock.now(), signal=15))

    async def remove(self, ref: EngineRef) -> None:
        await self._takes(0.01, 0.3)
        if (engine := self.engines.get(ref.id)) is not None and not engine.runs:
            del self.engines[ref.id]

    async def logs(self, ref: EngineRef, *, tail: int = 500, follow: bool = False) -> AsyncIterator[LogLine]:
        """Engines here say nothing."""
        engine = self.engines.get(ref.id)
        if engine is not None and follow:
            await engine.ended.wait()
        for _ in ():
            yield _

    async def stats(self, ref: EngineRef) -> EngineStats:
        return EngineStats()

    async def sweep(self, keep: Collection[DeploymentId]) -> tuple[EngineRef, ...]:
        await self._takes(0.01, 0.2)
        swept = []
        for name, engine in list(self.engines.items()):
            if engine.ref.deployment not in keep:
                self._end(engine, EngineExit(at=self.clock.now(), signal=9))
                self.engines.pop(name, None)
                swept.append(engine.ref)
        return tuple(swept)

    async def close(self) -> None: ...

    async def _takes(self, least: float, most: float) -> None:
        await asyncio.sleep(least if self.calm else self._rng.uniform(least, most))

    # probe

    async def answer(self, url: str) -> Answer:
        await asyncio.sleep(0.005)
        for engine in self.engines.values():
            if engine.ref.url == url and engine.runs:
                return Answer(ok=self.clock.monotonic() >= engine.ready_at, detail="loads")
        return Answer(ok=False, detail="nobody listens")


class Probe:
    """`services.readiness.ReadinessProbe` of a machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def health(self, url: str) -> Answer:
        return await self._machine.answer(url)

    async def one_token(self, url: str, model: str, capabilities: object) -> Answer:
        return await self._machine.answer(url)
