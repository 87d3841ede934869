"""Who holds which memory, at each moment of a deployment's life."""

from dataclasses import replace

import pytest

from modelgrid.decide.need import DRIVER_CONTEXT, WHOLE_DEVICE, footprint
from modelgrid.decide.promises import holds_place, is_measured, promises
from modelgrid.domain.deployment import Deployment, Failure, Intent
from modelgrid.domain.engine import EngineExit, EngineRef
from modelgrid.domain.gpu import Gpu, GpuInventory, GpuVendor
from modelgrid.domain.ids import DeploymentId, GpuId, ModelId, NodeName
from modelgrid.domain.node import Node
from modelgrid.domain.placement import Decision, MemoryNeed, MemoryTerm, Placement
from modelgrid.domain.target import Origin, RuntimeKind
from modelgrid.domain.units import GIB

NODE = NodeName("node-a")
GPU = GpuId("nvidia-0")
READ_AT = 100.0


def node(free_gib: float = 24, taken_at: float = READ_AT, **facts: object) -> Node:
    gpu = Gpu(
        id=GPU,
        vendor=GpuVendor.NVIDIA,
        index=0,
        uuid="GPU-0",
        name="Card",
        vram_total_bytes=24 * GIB,
        vram_used_bytes=int((24 - free_gib) * GIB),
        vram_free_bytes=int(free_gib * GIB),
    )
    return Node(
        name=NODE,
        inventory=GpuInventory(taken_at=taken_at, gpus=(gpu,)),
        memory_total_bytes=64 * GIB,
        memory_available_bytes=60 * GIB,
        **facts,  # type: ignore[arg-type]
    )


def need(gib: int = 10, *, gpu_count: int = 1, name: str = "weights") -> MemoryNeed:
    return MemoryNeed(gpu_count=gpu_count, terms=(MemoryTerm(name=name, bytes=gib * GIB, formula="1"),))


def deployment(given: MemoryNeed | None = None, **facts: object) -> Deployment:
    given = given or need()
    gpus = (GPU,) if given.gpu_count else ()
    decision = Decision(node=NODE, gpus=gpus, need=given, summary="placed")
    known: dict[str, object] = {
        "runtime": RuntimeKind.DOCKER,
        "placement": Placement(node=NODE, gpus=gpus, decision=decision, placed_at=1.0),
        **facts,
    }
    return Deployment(
        id=DeploymentId("d0"),
        target="t",
        model=ModelId("m"),
        origin=Origin.API,
        created_at=1.0,
        **known,  # type: ignore[arg-type]
    )


ENGINE = EngineRef(
    runtime=RuntimeKind.DOCKER, id="c", deployment=DeploymentId("d0"), attempt=1, url="http://127.0.0.1:1"
)
PULLING = {"attempt": 1, "pull_started_at": 10.0}
STARTING = {**PULLING, "pulled_at": 11.0}
LOADING = {**STARTING, "started_at": 12.0, "engine": ENGINE}
READY = {**LOADING, "ready_at": 20.0}
FAILED = {
    "attempt": 1,
    "engine": ENGINE,
    "failures": (Failure(attempt=1, exit=EngineExit(at=30.0, code=1)),),
}
GONE = {"attempt": 1, "pulled_at": 11.0, "engine_gone_at": 40.0}

BOOKED, PROMISED, NOTHING = "its place, measured", "its place, promised", "nothing"


@pytest.mark.parametrize(
    ("facts", "holds"),
    [
        ({"placement": None}, NOTHING),
        ({"removed_at": 50.0}, NOTHING),
        ({"runtime": RuntimeKind.EXTERNAL}, NOTHING),
        # wanted to run
        ({}, PROMISED),
        (PULLING, PROMISED),
        (STARTING, PROMISED),
        (LOADING, PROMISED),
        (READY, BOOKED),
        ({**READY, "unhealthy_since": 30.0}, BOOKED),
        ({**READY, "ready_at": READ_AT}, PROMISED),  # read at the same moment: perhaps before
        ({**READY, "ready_at": READ_AT + 1}, PROMISED),
        (FAILED, PROMISED),
        ({**READY, **FAILED}, PROMISED),  # a ready_at from before the failure says nothing
        ({**READY, "started_at": 21.0}, PROMISED),  # … nor one from before this start
        ({**READY, "restart_requested": True}, BOOKED),
        ({**GONE, "restart_requested": True}, PROMISED),  # between the engines of a restart
        # stopping and stopped
        ({**READY, "intent": Intent.STOP}, BOOKED),
        ({**READY, "intent": Intent.REMOVE}, BOOKED),
        ({**LOADING, "intent": Intent.REMOVE}, PROMISED),
        ({**FAILED, "intent": Intent.STOP}, PROMISED),
        ({**STARTING, "intent": Intent.STOP}, PROMISED),  # its start may be under way
        ({**PULLING, "intent": Intent.STOP}, PROMISED),  # its node may be further than it has said
        ({"intent": Intent.REMOVE}, PROMISED),
        ({"intent": Intent.REMOVE, "engine_gone_at": 40.0}, NOTHING),
        ({**GONE, "intent": Intent.STOP}, NOTHING),
        ({**GONE, "intent": Intent.REMOVE}, NOTHING),
    ],
)
def test_what_is_held_at_each_moment(facts, holds):
    one = deployment(**facts)
    held = promises([one], [node(free_gib=13.9)]).on(NODE, GPU)
    if holds is NOTHING:
        assert held == ()
        assert not holds_place(one)
        return
    (promise,) = held
    assert promise.bytes == footprint(need(), 24 * GIB)
    assert promise.measured == (holds is BOOKED)


def test_unmeasured_is_taken_off_what_is_free():
    held = promises([deployment(**LOADING)], [node()])
    assert held.available_bytes(node(), node().inventory.gpus[0]) == 24 * GIB - footprint(need(), 24 * GIB)


def test_measured_is_not_taken_off_twice():
    now = node(free_gib=13.9)
    held = promises([deployment(**READY)], [now])
    assert held.available_bytes(now, now.inventory.gpus[0]) == int(13.9 * GIB)


def test_place_of_a_crashed_engine_is_kept_though_the_device_shows_it_free():
    """Between the death of an engine and its being noticed the reading is newer than `ready_at` and empty."""
    emptied = node(free_gib=24)
    held = promises([deployment(**READY)], [emptied])
    assert held.available_bytes(emptied, emptied.inventory.gpus[0]) == 24 * GIB - footprint(need(), 24 * GIB)


def test_memory_of_others_counts():
    shared = node(free_gib=6)
    held = promises([deployment(**LOADING)], [shared])
    assert held.available_bytes(shared, shared.inventory.gpus[0]) == 0


def test_what_is_granted_is_the_share_and_not_the_estimate():
    odd = replace(need(), terms=(MemoryTerm(name="weights", bytes=10 * GIB + 1, formula="1"),))
    (promise,) = promises([deployment(odd)], [node()]).on(NODE, GPU)
    assert promise.bytes == -(-417 * 24 * GIB // 1000)


def test_driver_context_is_held_too():
    with_context = replace(need(), terms=(*need().terms, MemoryTerm(name=DRIVER_CONTEXT, bytes=GIB // 2, formula="1")))
    (promise,) = promises([deployment(with_context)], [node()]).on(NODE, GPU)
    assert promise.bytes == footprint(need(), 24 * GIB) + GIB // 2


def test_whole_device_is_exclusive_also_when_it_is_measured():
    (promise,) = promises([deployment(need(21, name=WHOLE_DEVICE), **READY)], [node()]).on(NODE, GPU)
    assert promise.measured
    assert promise.exclusive


def test_host_memory():
    on_cpu = need(5, gpu_count=0)
    loading = promises([deployment(on_cpu, **LOADING)], [node()])
    assert loading.on(NODE, None)[0].bytes == 5 * GIB
    assert loading.available_bytes(node(), None) == 55 * GIB
    assert promises([deployment(on_cpu, **READY)], [node()]).available_bytes(node(), None) == 59 * GIB


def test_host_memory_is_read_with_each_heartbeat():
    ready = deployment(need(5, gpu_count=0), **READY)
    assert not is_measured(ready, node(taken_at=10.0))
    assert is_measured(ready, node(taken_at=10.0, heartbeat_at=50.0))
    assert not is_measured(deployment(**READY), node(taken_at=10.0, heartbeat_at=50.0))


def test_node_or_gpu_that_is_not_there_keeps_its_promises():
    (promise,) = promises([deployment(**READY)], []).on(NODE, GPU)
    assert promise.bytes == 10 * GIB
    assert not promise.measured


def test_without_those_that_are_gone():
    held = promises([deployment(), replace(deployment(), id=DeploymentId("d1"))], [node()])
    assert [promise.holder for promise in held.on(NODE, GPU)] == ["d0", "d1"]
    assert [promise.holder for promise in held.without(["d0"]).on(NODE, GPU)] == ["d1"]
