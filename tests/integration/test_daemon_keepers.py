"""Keepers with a real store, real simulated engines and small constants: what would take minutes in a daemon."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from modelgrid.adapters.clock_system import SystemClock
from modelgrid.adapters.log_files import LogFiles
from modelgrid.adapters.runtime_process.runtime import ProcessRuntime
from modelgrid.adapters.store_sql import open_store
from modelgrid.adapters.store_sql.store import SqlStore
from modelgrid.decide import restart
from modelgrid.decide.classify import classify
from modelgrid.decide.lifecycle import Step
from modelgrid.domain.deployment import Deployment, DeploymentState, Intent
from modelgrid.domain.engine import EngineLaunch, EngineRef
from modelgrid.domain.ids import DeploymentId, ModelId, NodeName
from modelgrid.domain.placement import Decision, MemoryNeed, Placement
from modelgrid.domain.target import Origin, RuntimeKind
from modelgrid.services import bring_up, keeper, watch_over
from modelgrid.services.keepers import Keepers
from modelgrid.services.kept import KeeperTools
from modelgrid.services.live import LiveFacts
from modelgrid.services.logs.store import LogStore
from modelgrid.services.ports import EnginePorts
from modelgrid.services.readiness import ReadinessProbe
from modelgrid.services.registry import DeploymentRegistry

MODEL = ModelId("a/model")


class Rig:
    """The keepers of a node, and nothing else of it."""

    def __init__(self, folder: Path, store: SqlStore) -> None:
        self.store, self.clock = store, SystemClock()
        self.logs = LogStore(LogFiles(folder / "logs"), self.clock)
        self.registry = DeploymentRegistry(store)
        self.runtime = ProcessRuntime(RuntimeKind.SIMULATED, folder / "engines", "test", program=sys.executable)
        self.arguments: tuple[str, ...] = ()
        self.probe = ReadinessProbe()
        ports = EnginePorts(lambda: [d.port for d in self.registry.all() if d.port], id(self))
        self.keepers = Keepers(
            KeeperTools(
                registry=self.registry,
                store=store,
                runtimes={RuntimeKind.SIMULATED: self.runtime},
                logs=self.logs,
                live=LiveFacts(),
                probe=self.probe,
                clock=self.clock,
                allocate_port=ports.allocate,
                launch=self._launch,
                names=lambda deployment: (deployment.model, ()),
                node=NodeName("here"),
                in_flight=lambda _: 0,
            )
        )

    def _launch(self, deployment: Deployment) -> EngineLaunch:
        assert deployment.port is not None
        quick = ("--sim-load-seconds", "0", "--sim-ttft", "0", "--sim-itl", "0", "--port", str(deployment.port))
        argv = (sys.executable, "-m", "modelgrid.simulator", "serve", deployment.model, *quick, *self.arguments)
        return EngineLaunch(deployment=deployment.id, attempt=deployment.attempt, argv=argv, port=deployment.port)

    async def add(self, name: str = "one-000001", **facts: Any) -> Deployment:
        now = self.clock.now()
        decision = Decision(node=NodeName("here"), summary="placed", need=MemoryNeed(gpu_count=0, terms=()))
        new = Deployment(
            id=DeploymentId(name),
            target="one",
            model=MODEL,
            origin=Origin.API,
            runtime=RuntimeKind.SIMULATED,
            created_at=now,
            placement=Placement(node=NodeName("here"), gpus=(), decision=decision, placed_at=now, epoch=1),
        )
        return await self.registry.create(replace(new, **facts))

    def state(self, deployment: Deployment) -> DeploymentState:
        found = self.registry.find(deployment.id)
        return classify(found, self.clock.now()).state if found else DeploymentState.STOPPED

    async def until(self, holds: Callable[[], object], seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110  the state is another task's
                await asyncio.sleep(0.01)

    async def events(self, deployment: Deployment) -> list[tuple[str, str]]:
        return [(e.kind, e.message) for e in await self.store.events(subject_id=deployment.id)]

    async def remove(self, deployment: Deployment) -> None:
        await self.registry.change(deployment.id, lambda d: replace(d, intent=Intent.REMOVE))
        await self.until(lambda: self.registry.find(deployment.id) is None)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    store = await open_store(f"sqlite:///{tmp_path}/state.db")
    rig = Rig(tmp_path, store)
    await rig.logs.open()
    rig.keepers.start()
    yield rig
    await rig.keepers.close()
    await rig.logs.close()
    await rig.runtime.sweep(())
    await rig.probe.close()
    await rig.runtime.close()
    await store.close()


async def test_a_crash_loop_is_given_up_with_its_reason(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """R21: a start per pause and no more, then no further one until somebody asks."""
    monkeypatch.setattr(restart, "FIRST_DELAY_SECONDS", 0.01)
    rig.arguments = ("--sim-fault", "exit-at-load=3")
    loop = await rig.add()
    await rig.until(lambda: rig.state(loop) is DeploymentState.FAILED, 60)
    given_up = rig.registry.find(loop.id)
    assert given_up is not None
    assert len(given_up.failures) == restart.GIVE_UP_AFTER == given_up.attempt
    assert "given up after 8 failed starts in a row" in classify(given_up, rig.clock.now()).reason
    ends = [failure.exit.at for failure in given_up.failures]
    pauses = [after - before for before, after in pairwise(ends)]
    assert all(pause >= 0.01 * 2**number * (1 - restart.JITTER) - 0.01 for number, pause in enumerate(pauses)), pauses
    kinds = [kind for kind, _ in await rig.events(loop)]
    assert kinds.count("started") == kinds.count("exited") == restart.GIVE_UP_AFTER
    assert kinds.count("restarting") == restart.GIVE_UP_AFTER - 1
    assert kinds[-1] == "gave_up"
    rig.arguments = ()
    await rig.registry.change(loop.id, lambda d: replace(d, restart_requested=True))
    await rig.until(lambda: rig.state(loop) is DeploymentState.RUNNING)
    assert rig.registry.find(loop.id).failures == ()  # type: ignore[union-attr]
    await rig.remove(loop)
    assert await rig.runtime.find() == ()


async def test_the_last_lines_of_each_failure_are_kept_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recording a failure wakes its own keeper; what follows the record must not be broken off by that."""
    monkeypatch.setattr(restart, "FIRST_DELAY_SECONDS", 5.0)
    rig.arguments = ("--sim-fault", "oom-at-load")
    many = [await rig.add(f"many-00000{number}") for number in range(4)]
    await rig.until(lambda: all(rig.state(item) is DeploymentState.RESTARTING for item in many))
    async with asyncio.timeout(5):
        while len(await rig.store.history()) < len(many):  # noqa: ASYNC110  the state is the database's
            await asyncio.sleep(0.01)
    for item in many:
        record = await rig.store.history_record(item.id)
        assert any("OutOfMemoryError" in line.text for line in record.last_lines)


async def test_an_engine_that_hangs_at_load_is_killed_and_tried_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bring_up, "START_SILENCE_SECONDS", 1.0)
    rig.arguments = ("--sim-fault", "hang-at-load")
    hung = await rig.add()
    await rig.until(lambda: rig.state(hung) is DeploymentState.RESTARTING)
    (failure,) = rig.registry.find(hung.id).failures  # type: ignore[union-attr]
    assert failure.exit.error == "killed: no sign of life for 1.0s"
    rig.arguments = ()
    await rig.until(lambda: rig.state(hung) is DeploymentState.RUNNING)
    await rig.remove(hung)


async def test_an_engine_that_falls_silent_for_good_is_killed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_over, "HEALTH_POLL_SECONDS", 0.05)
    monkeypatch.setattr(watch_over, "SILENT_POLL_SECONDS", 0.05)
    monkeypatch.setattr(watch_over, "HUNG_SECONDS", 1.0)
    rig.arguments = ("--sim-fault", "unhealthy")
    silent = await rig.add()
    await rig.until(lambda: rig.state(silent) is DeploymentState.STARTING)
    await rig.registry.change(silent.id, lambda d: replace(d, ready_at=rig.clock.now()))
    await rig.until(lambda: rig.registry.find(silent.id).failures)  # type: ignore[union-attr]
    (failure,) = rig.registry.find(silent.id).failures  # type: ignore[union-attr]
    assert "did not answer for 1.0s" in failure.exit.error
    assert "unhealthy" in [kind for kind, _ in await rig.events(silent)]


async def test_a_keeper_is_ended_also_while_it_ends_a_step(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = asyncio.Event()

    async def slow_to_end(*_: object) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ending.set()
            await asyncio.sleep(0.1)
            raise

    monkeypatch.setattr(keeper, "_INTERRUPTIBLE", frozenset(Step))
    monkeypatch.setattr(keeper.Keeper, "_guarded", slow_to_end)
    one = await rig.add()
    await asyncio.sleep(0.05)
    rig.keepers._changed(one.id)
    await ending.wait()
    async with asyncio.timeout(5):
        await rig.keepers.close()


async def test_an_engine_whose_start_was_never_recorded_is_swept_once_it_is_not_wanted(rig: Rig) -> None:
    """It was started, then asked to stop; a crash came before its start was recorded: nothing else knows of it."""
    one = await rig.add(placement=None)
    ref = await rig.runtime.start(rig._launch(replace(one, attempt=1, port=29_990)))
    await rig.keepers.sweep()
    assert [found.id for found in await rig.runtime.find()] == [ref.id], "it may be adopted by the start that is due"
    await rig.registry.change(one.id, lambda d: replace(d, intent=Intent.STOP))
    await rig.keepers.sweep()
    assert await rig.runtime.find() == ()


async def test_the_sweep_spares_what_began_while_it_looked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    real = rig.runtime.sweep

    async def slow(keep: Collection[DeploymentId]) -> tuple[EngineRef, ...]:
        late = await rig.add("late-000001", placement=None)
        await rig.runtime.start(rig._launch(replace(late, attempt=1, port=29_991)))
        return await real(keep)

    monkeypatch.setattr(rig.runtime, "sweep", slow)
    await rig.keepers.sweep()
    assert [ref.deployment for ref in await rig.runtime.find()] == ["late-000001"]
