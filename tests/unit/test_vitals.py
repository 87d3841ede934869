"""The vitals of the control process, and the verdict that is looked at once a second."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelgrid.domain.node import NodeLiveness
from modelgrid.services.verdict import VerdictService
from modelgrid.services.vitals import LAG_SECONDS, DaemonVitals


class StepClock:
    """A clock whose sleeps take as long as the test says, and end at once."""

    def __init__(self, late: list[float]) -> None:
        self._late = iter(late)
        self.at = 100.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        late = next(self._late, None)
        if late is None:
            await asyncio.Event().wait()
        self.at += seconds + cast("float", late)
        await asyncio.sleep(0)


async def looked(loop: Any) -> None:
    task = asyncio.create_task(loop)
    for _ in range(500):
        await asyncio.sleep(0)
    task.cancel()


async def test_the_worst_delay_of_the_last_minute_counts() -> None:
    vitals = DaemonVitals(StepClock([0.0, 0.25, 0.1]))
    assert vitals.loop_lag_seconds == 0.0
    await looked(vitals.run())
    assert vitals.loop_lag_seconds == pytest.approx(0.25)
    later = DaemonVitals(StepClock([0.25, *[0.01] * LAG_SECONDS]))
    await looked(later.run())
    assert later.loop_lag_seconds == pytest.approx(0.01), "what is older than a minute is forgotten"


async def test_cpu_is_the_share_of_one_core() -> None:
    clock = StepClock([0.0])
    vitals = DaemonVitals(clock)
    begun = time.process_time()
    running = asyncio.create_task(vitals.run())
    await asyncio.sleep(0)
    while time.process_time() - begun < 0.05:
        pass
    for _ in range(5):
        await asyncio.sleep(0)
    running.cancel()
    assert vitals.cpu_percent >= 1.0


def test_memory_is_what_is_resident() -> None:
    assert 10_000_000 < DaemonVitals(StepClock([])).memory_bytes < 10_000_000_000


async def test_gateways_are_told_when_the_word_changes_and_only_then(tmp_path: Path) -> None:
    told: list[str] = []
    node = SimpleNamespace(
        name="a",
        liveness=NodeLiveness.READY,
        heartbeat_at=0.0,
        status=SimpleNamespace(value="active"),
        inventory=SimpleNamespace(stale=False, problem="", gpus=(), taken_at=0.0),
    )
    problems: list[str] = []
    nothing = SimpleNamespace(all=tuple)

    class Clock(StepClock):
        async def sleep(self, seconds: float) -> None:
            problems[:] = ["The port is taken."] if len(told) == 1 and self.at > 102 else problems
            await super().sleep(seconds)

    service = VerdictService(
        nodes=lambda: [cast("Any", node)],
        registry=cast("Any", nothing),
        targets=cast("Any", nothing),
        gateways=lambda: [cast("Any", object())],
        gateways_wanted=1,
        served_elsewhere=lambda: False,
        problems=lambda: problems,
        logs=cast("Any", SimpleNamespace(problem="")),
        catalog=cast("Any", SimpleNamespace(sources=())),
        state_dir=tmp_path,
        clock=Clock([0.0] * 10),
        on_change=lambda: told.append(service.word),
    )
    assert service.word == ""
    await looked(service.run())
    assert told == ["healthy", "degraded"]
    (reason,) = service.judge().reasons
    assert reason.since is not None
    assert 102 < reason.since < service._clock.now(), "it is remembered from look to look"
