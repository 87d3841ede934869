"""The node's GPUs, read over and over: the latest inventory, and word to those who wait for a change that matters.

Each source (one per vendor) has a loop of its own, so a hung driver delays nobody else. When a source fails, what it
said last stays in the inventory, and the inventory says that it is stale and why: placements go on with what was true.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.gpu import DriverIssue, DriverReport, Gpu, GpuInventory, GpuVendor
from modelgrid.domain.units import MIB
from modelgrid.ports.clock import Clock

RELEVANT_FREE_BYTES = 256 * MIB
"""Free memory moves by a few MiB all the time; a change of this size can decide whether a model fits."""
INTERVAL_SECONDS = 2.0
AFTER_AN_ENGINE_SECONDS = 0.25
AFTER_AN_ENGINE_LOOKS = 8
"""When an engine has gone its memory is waited for: it is read at once and a few times more, for drivers give memory
back some time after the process has ended."""

_log = structlog.get_logger(__name__)


class GpuSource(Protocol):
    """Where GPUs of one vendor are read from. Both calls end in bounded time and raise `ModelGridError`."""

    vendor: GpuVendor

    async def read(self) -> tuple[Gpu, ...]: ...

    async def drivers(self) -> DriverReport: ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class _Slot:
    """What one source said last."""

    source: GpuSource
    gpus: tuple[Gpu, ...] = ()
    taken_at: float | None = None
    problem: str = "The GPUs have not been read yet."
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    due: asyncio.Event = field(default_factory=asyncio.Event)
    """An engine has gone: what it leaves free is to be seen soon."""


class GpuInventoryService:
    """Keeps the latest `GpuInventory`. One event loop; the only writer of the inventory."""

    def __init__(
        self,
        sources: Sequence[GpuSource],
        clock: Clock,
        interval_seconds: float = INTERVAL_SECONDS,
        owner_of: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        """`owner_of` returns the deployment that a process belongs to; it is asked for each process on each GPU."""
        self._slots = tuple(_Slot(source) for source in sources)
        self._clock = clock
        self._interval = interval_seconds
        self._owner_of = owner_of
        self._listeners: list[Callable[[GpuInventory], None]] = []
        self._inventory = self._compose()
        self._announced = self._inventory

    @property
    def inventory(self) -> GpuInventory:
        """The latest inventory. Stale until every source was read once; never stale without sources."""
        return self._inventory

    def subscribe(self, listener: Callable[[GpuInventory], None]) -> Callable[[], None]:
        """Call `listener` whenever something changes that a placement may depend on (`placement_relevant`).

        Called in the event loop and must neither block nor raise. Returns a function that ends the subscription.
        """
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    async def refresh(self) -> GpuInventory:
        """Read every source now, side by side, and return the new inventory. A failure makes it stale, never raises.

        Takes as long as the slowest source, at most its timeout.
        """
        await asyncio.gather(*(self._refresh(slot) for slot in self._slots))
        return self._inventory

    def engine_gone(self) -> None:
        """Have every source read at once and again shortly after, by `run`. Does not block."""
        for slot in self._slots:
            slot.due.set()

    async def run(self) -> None:
        """Read each source every interval until cancelled; where there is none, too, this goes on until then."""
        if not self._slots:
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as group:
            for slot in self._slots:
                group.create_task(self._watch(slot), name=f"gpus-{slot.source.vendor}")
                group.create_task(self._look_closely(slot), name=f"gpus-{slot.source.vendor}-freed")

    async def drivers(self) -> tuple[DriverReport, ...]:
        """Return one report per source. A source that fails gives a report with the issue `probe_failed`."""
        return tuple(await asyncio.gather(*(self._report(slot.source) for slot in self._slots)))

    async def close(self) -> None:
        """End what the sources started. Call after `run` was cancelled."""
        for slot in self._slots:
            await slot.source.close()

    async def _watch(self, slot: _Slot) -> None:
        while True:
            await self._refresh(slot)
            await self._clock.sleep(self._interval)

    async def _look_closely(self, slot: _Slot) -> None:
        looks = 0
        while True:
            if not looks:
                await slot.due.wait()
            if slot.due.is_set():
                slot.due.clear()
                looks = AFTER_AN_ENGINE_LOOKS
            await self._refresh(slot)
            looks -= 1
            await self._clock.sleep(AFTER_AN_ENGINE_SECONDS)

    async def _refresh(self, slot: _Slot) -> None:
        async with slot.lock:
            # A reading is as old as its beginning: what was loaded meanwhile may or may not be in it.
            began = self._clock.now()
            try:
                gpus = await slot.source.read()
            except ModelGridError as error:
                if slot.problem != error.message:
                    _log.warning(
                        "gpu_probe_failed", vendor=str(slot.source.vendor), problem=error.message, fix=error.fix
                    )
                slot.problem = error.message
            else:
                slot.gpus, slot.taken_at, slot.problem = tuple(map(self._with_owners, gpus)), began, ""
        self._publish()

    def _with_owners(self, gpu: Gpu) -> Gpu:
        if not gpu.processes:
            return gpu
        return replace(gpu, processes=tuple(replace(p, deployment=self._owner_of(p.pid)) for p in gpu.processes))

    async def _report(self, source: GpuSource) -> DriverReport:
        try:
            return await source.drivers()
        except ModelGridError as error:
            return DriverReport(
                vendor=source.vendor,
                hardware_present=True,
                installed=True,
                issues=(DriverIssue(code="probe_failed", message=error.message, fix=error.fix),),
            )

    def _publish(self) -> None:
        self._inventory = self._compose()
        if placement_relevant(self._announced, self._inventory):
            self._announced = self._inventory
            for listener in tuple(self._listeners):
                listener(self._inventory)

    def _compose(self) -> GpuInventory:
        """Return the union of what the sources said; as old as the oldest of it."""
        problems = [slot.problem for slot in self._slots if slot.problem]
        times = [slot.taken_at for slot in self._slots if slot.taken_at is not None]
        return GpuInventory(
            taken_at=min(times, default=self._clock.now()),
            gpus=tuple(gpu for slot in self._slots for gpu in slot.gpus),
            stale=bool(problems),
            problem=" ".join(dict.fromkeys(problems)),
        )


def placement_relevant(before: GpuInventory, after: GpuInventory) -> bool:
    """Return whether a placement may be decided differently: a GPU came, went, was swapped or split, free memory
    moved by more than `RELEVANT_FREE_BYTES`, or the readings became stale or fresh."""
    if before.stale != after.stale or before.problem != after.problem:
        return True
    old = {gpu.id: gpu for gpu in before.gpus}
    new = {gpu.id: gpu for gpu in after.gpus}
    return old.keys() != new.keys() or any(
        (gpu.uuid, gpu.mig_enabled, gpu.vram_total_bytes)
        != (old[name].uuid, old[name].mig_enabled, old[name].vram_total_bytes)
        or abs(gpu.vram_free_bytes - old[name].vram_free_bytes) > RELEVANT_FREE_BYTES
        for name, gpu in new.items()
    )


def offers_more(before: GpuInventory, after: GpuInventory) -> bool:
    """Return whether somebody who waits for a place may find one in `after` and not in `before`: a GPU came or was
    split, memory of more than `RELEVANT_FREE_BYTES` was freed, or the readings are fresh again."""
    if before.stale and not after.stale:
        return True
    old = {gpu.id: gpu for gpu in before.gpus}
    return any(
        gpu.id not in old
        or gpu.mig_enabled != old[gpu.id].mig_enabled
        or gpu.vram_free_bytes - old[gpu.id].vram_free_bytes > RELEVANT_FREE_BYTES
        for gpu in after.gpus
    )
