"""What control concludes from the reports of gateways: whether a replica is idle, and what was asked for."""

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelgrid.config.model import ApiConfig
from modelgrid.domain.cluster import SharedRouting
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.engine import EngineRef
from modelgrid.domain.errors import StorageFull
from modelgrid.domain.ids import DeploymentId, ModelId
from modelgrid.domain.routing import GatewayReport, ModelRoute, ModelState, Replica, ReplicaOutcome, ReplicaState
from modelgrid.domain.target import Origin, RuntimeKind
from modelgrid.services import gateways
from modelgrid.services.events import Notifier
from modelgrid.services.gateways import REPORT_FRESH_SECONDS, WANTED_FRESH_SECONDS, GatewayService, Neighbourhood

ONE = DeploymentId("one-000001")


class Clock:
    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Rig:
    """A gateway service over facts that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.deployments = [running()]
        self.wanted: list[str] = []
        self.refuse = False
        registry: Any = SimpleNamespace(all=lambda: tuple(self.deployments), on_change=lambda _: None)
        targets: Any = SimpleNamespace(all=tuple, want=self._want, changed=Notifier())
        keys: Any = SimpleNamespace(active=tuple, used=self._used, changed=Notifier())
        catalog: Any = SimpleNamespace(find=lambda _: None, entries=())
        self.service = GatewayService(
            socket_path=folder / "control.sock",
            epoch="now",
            registry=registry,
            targets=targets,
            keys=keys,
            catalog=catalog,
            clock=self.clock,
            api=ApiConfig(),  # type: ignore[call-arg]
            auto_deploy=True,
            around=Neighbourhood(node="here"),
        )
        self.service._publish()

    async def _want(self, model: str) -> None:
        self.wanted.append(model)

    async def _used(self, _: object) -> None:
        if self.refuse:
            raise StorageFull("full")

    def hear(self, generation: int, in_flight: int, *, pid: int = 1, epoch: str = "now", **more: Any) -> None:
        outcome = ReplicaOutcome(replica=ONE, in_flight=in_flight, consecutive_failures=0, ejected=False)
        report = GatewayReport(
            gateway="0", pid=pid, started_at=0.0, epoch=epoch, generation=generation, outcomes=(outcome,), **more
        )
        self.service._take_report(report)

    def drain(self) -> int:
        """Withdraw the replica; return the generation that says so."""
        self.deployments = [replace(self.deployments[0], intent=Intent.STOP)]
        self.service._publish()
        return self.service._generation


def running() -> Deployment:
    engine = EngineRef(runtime=RuntimeKind.SIMULATED, id="1:1", deployment=ONE, attempt=1, url="http://127.0.0.1:20000")
    return Deployment(
        id=ONE,
        target="one",
        model=ModelId("one"),
        origin=Origin.API,
        runtime=RuntimeKind.SIMULATED,
        created_at=0.0,
        engine=engine,
        started_at=1.0,
        ready_at=2.0,
    )


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_a_replica_is_idle_once_every_gateway_has_withdrawn_it(rig: Rig) -> None:
    rig.hear(1, 0)
    assert rig.service.in_flight(ONE) is None, "it may still be given requests"
    generation = rig.drain()
    assert rig.service.in_flight(ONE) is None
    rig.hear(generation, 2)
    assert rig.service.in_flight(ONE) == 2
    rig.hear(generation, 0)
    assert rig.service.in_flight(ONE) == 0


async def test_later_tables_do_not_make_an_idle_replica_unknown_again(rig: Rig) -> None:
    """A busy fleet publishes faster than gateways report; nobody could be drained then."""
    generation = rig.drain()
    for _ in range(5):
        rig.service._publish()
    rig.hear(generation, 0)
    assert rig.service.in_flight(ONE) == 0


async def test_a_replica_that_returns_is_withdrawn_anew(rig: Rig) -> None:
    rig.hear(rig.drain(), 0)
    rig.deployments = [running()]
    rig.service._publish()
    rig.hear(rig.service._generation, 0)
    again = rig.drain()
    assert rig.service.in_flight(ONE) is None, "the gateway gave it requests since"
    rig.hear(again, 1)
    assert rig.service.in_flight(ONE) == 1


async def test_the_old_gateway_counts_while_a_new_one_takes_over(rig: Rig) -> None:
    generation = rig.drain()
    rig.hear(generation, 3, pid=1, draining=True)
    rig.hear(generation, 0, pid=2)
    assert rig.service.in_flight(ONE) == 3
    rig.clock.time += REPORT_FRESH_SECONDS + 1
    rig.hear(generation, 0, pid=2)
    assert rig.service.in_flight(ONE) == 0, "the old one has ended and is forgotten"
    assert len(rig.service._reports) == 1


async def test_a_gateway_that_serves_by_an_earlier_table_is_not_believed(rig: Rig) -> None:
    rig.hear(rig.drain() + 100, 0, epoch="of the control before")
    assert rig.service.in_flight(ONE) is None


async def test_each_request_brings_its_model_up_once(rig: Rig) -> None:
    asked = rig.clock.time
    for _ in range(3):
        rig.hear(1, 0, wanted_models={"m": asked})
        await rig.service._act_on_reports()
        rig.clock.time += 1
    assert rig.wanted == ["m"]
    rig.hear(1, 0, wanted_models={"m": rig.clock.time})
    await rig.service._act_on_reports()
    assert rig.wanted == ["m", "m"]
    rig.clock.time += WANTED_FRESH_SECONDS + 1
    rig.hear(1, 0, wanted_models={"old": rig.clock.time - WANTED_FRESH_SECONDS - 0.5})
    await rig.service._act_on_reports()
    assert rig.wanted == ["m", "m"], "who asked so long ago has gone"


async def test_a_full_disk_does_not_end_the_loop(rig: Rig) -> None:
    rig.refuse = True
    loop = asyncio.create_task(rig.service.run())
    rig.hear(1, 0)
    async with asyncio.timeout(5):
        while not rig.service._trouble:  # noqa: ASYNC110  the state is another task's
            await asyncio.sleep(0.01)
    rig.refuse = False
    rig.hear(1, 0)
    async with asyncio.timeout(5):
        while rig.service._trouble:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not loop.done()
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_tables_are_repeated_however_often_gateways_report(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that hears nothing for long says that control is gone, and its verdict is unknown."""
    monkeypatch.setattr(gateways, "REPEAT_SECONDS", 0.1)
    tables: list[int] = []
    rig.service.on_table.append(lambda table: tables.append(table.generation))
    loop = asyncio.create_task(rig.service.run())
    async with asyncio.timeout(5):
        while len(tables) < 3:
            rig.hear(1, 0)
            await asyncio.sleep(0.01)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    assert tables == [2, 3, 4]


def test_a_worker_knows_from_its_control_plane_whether_others_serve(tmp_path: Path) -> None:
    def route(node: str, state: ReplicaState) -> ModelRoute:
        there = Replica(id="x", host="h", port=1, state=state, node=node)
        return ModelRoute(id="m", names=("m",), state=ModelState.READY, created=0, replicas=(there,))

    around = Neighbourhood(node="here")
    service = Rig(tmp_path).service
    for shared, known in (
        (None, False),
        (SharedRouting(epoch=1, generation=1), False),
        (SharedRouting(epoch=1, generation=1, models=(route("here", ReplicaState.READY),)), False),
        (SharedRouting(epoch=1, generation=1, models=(route("there", ReplicaState.DRAINING),)), False),
        (SharedRouting(epoch=1, generation=1, models=(route("there", ReplicaState.READY),)), True),
    ):
        service._around = replace(around, shared=lambda shared=shared: shared)
        assert service.served_elsewhere() is known
    service._around = around
    assert not service.served_elsewhere(), "where nobody tells, this node's own are all"
