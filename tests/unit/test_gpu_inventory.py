"""The inventory service over scripted sources: freshness, staleness, and who is told of what."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.gpu import DriverReport, Gpu, GpuInventory, GpuVendor
from modelgrid.domain.ids import GpuId
from modelgrid.domain.units import GIB, MIB
from modelgrid.services.gpu_inventory import AFTER_AN_ENGINE_LOOKS, GpuInventoryService, offers_more, placement_relevant


def gpu(index: int = 0, free: int = 60 * GIB, vendor: GpuVendor = GpuVendor.NVIDIA) -> Gpu:
    return Gpu(
        id=GpuId(f"{vendor}-{index}"),
        vendor=vendor,
        index=index,
        uuid=f"GPU-{vendor}-{index}",
        name="Test",
        vram_total_bytes=80 * GIB,
        vram_used_bytes=80 * GIB - free,
        vram_free_bytes=free,
    )


class ScriptedSource:
    """Answers what `answer` holds: GPUs, an error, or an event to wait for first."""

    def __init__(self, vendor: GpuVendor = GpuVendor.NVIDIA) -> None:
        self.vendor = vendor
        self.answer: tuple[Gpu, ...] | ModelGridError = (gpu(vendor=vendor),)
        self.gate: asyncio.Event | None = None
        self.reads = 0
        self.closed = False

    async def read(self) -> tuple[Gpu, ...]:
        self.reads += 1
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, ModelGridError):
            raise self.answer
        return self.answer

    async def drivers(self) -> DriverReport:
        if isinstance(self.answer, ModelGridError):
            raise self.answer
        return DriverReport(vendor=self.vendor, hardware_present=True, installed=True, version="1")

    async def close(self) -> None:
        self.closed = True


class StepClock:
    """Every reading is a second later; sleeping only lets others run."""

    def __init__(self) -> None:
        self._ticks = count(1000)

    def now(self) -> float:
        return float(next(self._ticks))

    def monotonic(self) -> float:
        return float(next(self._ticks))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # whatever the sources and loops do
            await asyncio.sleep(0)


async def test_before_the_first_reading_it_is_stale_and_says_why() -> None:
    service = GpuInventoryService([ScriptedSource()], StepClock())
    assert service.inventory.stale
    assert service.inventory.problem == "The GPUs have not been read yet."
    assert (await service.refresh()).gpus == (gpu(),)
    assert not service.inventory.stale
    assert service.inventory.problem == ""


async def test_without_sources_it_is_empty_and_fresh() -> None:
    service = GpuInventoryService([], StepClock())
    assert service.inventory == replace(await service.refresh(), taken_at=service.inventory.taken_at)
    assert not service.inventory.stale


async def test_a_failure_keeps_the_old_readings_and_their_time() -> None:
    source = ScriptedSource()
    service = GpuInventoryService([source], StepClock())
    fresh = await service.refresh()
    source.answer = ModelGridError("The driver hangs.")
    stale = await service.refresh()
    assert (stale.gpus, stale.taken_at) == (fresh.gpus, fresh.taken_at)
    assert (stale.stale, stale.problem) == (True, "The driver hangs.")
    source.answer = (gpu(free=GIB),)
    again = await service.refresh()
    assert (again.stale, again.problem, again.gpus) == (False, "", (gpu(free=GIB),))
    assert again.taken_at > fresh.taken_at


async def test_one_vendors_failure_leaves_the_others_readings_fresh() -> None:
    good, bad = ScriptedSource(GpuVendor.AMD), ScriptedSource()
    service = GpuInventoryService([bad, good], StepClock())
    await service.refresh()
    bad.answer = ModelGridError("The driver hangs.")
    good.answer = (gpu(vendor=GpuVendor.AMD, free=GIB),)
    inventory = await service.refresh()
    assert [(entry.id, entry.vram_free_bytes) for entry in inventory.gpus] == [("nvidia-0", 60 * GIB), ("amd-0", GIB)]
    assert inventory.stale


async def test_a_slow_source_delays_nobody() -> None:
    slow, quick = ScriptedSource(), ScriptedSource(GpuVendor.AMD)
    slow.gate = asyncio.Event()
    service = GpuInventoryService([slow, quick], StepClock())
    running = asyncio.create_task(service.run())
    await until(lambda: quick.reads >= 20)
    assert slow.reads == 1
    assert [entry.id for entry in service.inventory.gpus] == ["amd-0"]
    slow.gate.set()
    await until(lambda: not service.inventory.stale)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_listeners_hear_of_what_matters_only() -> None:
    source = ScriptedSource()
    service = GpuInventoryService([source], StepClock())
    heard: list[GpuInventory] = []
    unsubscribe = service.subscribe(heard.append)
    await service.refresh()
    assert len(heard) == 1, "the first reading"
    source.answer = (gpu(free=60 * GIB - 200 * MIB),)
    await service.refresh()
    assert len(heard) == 1
    source.answer = (gpu(free=60 * GIB - 300 * MIB),)
    await service.refresh()
    assert len(heard) == 2, "small steps add up to one that matters"
    source.answer = (*source.answer, gpu(1))
    await service.refresh()
    assert len(heard) == 3
    source.answer = ModelGridError("The driver hangs.")
    await service.refresh()
    await service.refresh()
    assert len(heard) == 4, "said once"
    assert heard[-1].stale
    unsubscribe()
    unsubscribe()
    source.answer = ()
    await service.refresh()
    assert len(heard) == 4


async def test_driver_reports_survive_a_failing_source() -> None:
    good, bad = ScriptedSource(GpuVendor.AMD), ScriptedSource()
    bad.answer = ModelGridError("The driver hangs.", fix="Reboot.")
    reports = await GpuInventoryService([good, bad], StepClock()).drivers()
    assert [report.vendor for report in reports] == [GpuVendor.AMD, GpuVendor.NVIDIA]
    assert [(issue.code, issue.fix) for issue in reports[1].issues] == [("probe_failed", "Reboot.")]


async def test_close_ends_every_source() -> None:
    sources = [ScriptedSource(), ScriptedSource(GpuVendor.AMD)]
    await GpuInventoryService(sources, StepClock()).close()
    assert all(source.closed for source in sources)


inventories = st.builds(
    GpuInventory,
    taken_at=st.floats(0, 10),
    gpus=st.lists(
        st.builds(gpu, index=st.integers(0, 2), free=st.integers(0, 4).map(lambda n: n * 200 * MIB)), max_size=3
    ).map(lambda found: tuple({entry.id: entry for entry in found}.values())),
    stale=st.booleans(),
)


@given(before=inventories, after=inventories)
def test_relevance_is_symmetric_and_nothing_changes_from_itself(before: GpuInventory, after: GpuInventory) -> None:
    assert not placement_relevant(before, replace(before, taken_at=after.taken_at))
    assert placement_relevant(before, after) == placement_relevant(after, before)
    shuffled = replace(before, gpus=tuple(reversed(before.gpus)))
    assert not placement_relevant(before, shuffled)


def test_a_gpu_that_was_split_or_swapped_matters() -> None:
    before = GpuInventory(taken_at=0, gpus=(gpu(),))
    assert placement_relevant(before, replace(before, gpus=(replace(gpu(), mig_enabled=True),)))
    assert placement_relevant(before, replace(before, gpus=(replace(gpu(), uuid="GPU-other"),)))


async def test_without_any_source_it_goes_on_all_the_same() -> None:
    running = asyncio.create_task(GpuInventoryService([], StepClock()).run())
    done, _ = await asyncio.wait({running}, timeout=0.05)
    assert not done, "the process ends with a loop that ends"
    running.cancel()


class HeldClock(StepClock):
    """Sleeps of an interval never end; shorter ones do at once."""

    async def sleep(self, seconds: float) -> None:
        if seconds >= 2:
            await asyncio.Event().wait()
        await asyncio.sleep(0)


async def test_when_an_engine_has_gone_its_memory_is_looked_for_at_once_and_a_few_times_more() -> None:
    source, heard = ScriptedSource(), list[GpuInventory]()
    service = GpuInventoryService([source], HeldClock())
    service.subscribe(heard.append)
    running = asyncio.create_task(service.run())
    await until(lambda: source.reads == 1)
    source.answer = (gpu(free=80 * GIB),)
    service.engine_gone()
    await until(lambda: source.reads == 1 + AFTER_AN_ENGINE_LOOKS)
    assert heard[-1].gpus == source.answer
    for _ in range(50):
        await asyncio.sleep(0)
    assert source.reads == 1 + AFTER_AN_ENGINE_LOOKS, "then as before"
    running.cancel()


def test_more_is_offered_where_room_came_and_not_where_it_went() -> None:
    before = GpuInventory(taken_at=0, gpus=(gpu(free=10 * GIB),))
    assert offers_more(before, replace(before, gpus=(gpu(free=20 * GIB),)))
    assert offers_more(before, replace(before, gpus=(*before.gpus, gpu(1))))
    assert offers_more(before, replace(before, gpus=(replace(before.gpus[0], mig_enabled=True),)))
    assert offers_more(replace(before, stale=True), before)
    assert not offers_more(before, replace(before, taken_at=9))
    assert not offers_more(before, replace(before, gpus=(gpu(free=10 * GIB + 200 * MIB),)))
    assert not offers_more(before, replace(before, gpus=(gpu(free=GIB),)))
    assert not offers_more(before, replace(before, gpus=(), stale=True))
