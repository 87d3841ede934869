"""Where one instance lands, and what an operator is told when it does not."""

from dataclasses import replace

import pytest

from modelgrid.decide.fit import FitRequest, fit
from modelgrid.decide.promises import Promise, Promises
from modelgrid.domain.gpu import Gpu, GpuInventory, GpuVendor
from modelgrid.domain.ids import GpuId, ModelId, NodeName
from modelgrid.domain.model import Architecture, Capability, CatalogEntry
from modelgrid.domain.node import Node, NodeLiveness, NodeStatus
from modelgrid.domain.placement import Decision, Verdict
from modelgrid.domain.target import Constraints, EngineSpec, RuntimeKind
from modelgrid.domain.units import GIB

MODEL = ModelId("org/model")
NOTHING = Promises()


def entry(weight_gib: float = 12, *, aliases: tuple[str, ...] = ()) -> CatalogEntry:
    return CatalogEntry(
        id=MODEL,
        aliases=aliases,
        capabilities=(Capability.CHAT,),
        parameters=6_000_000_000,
        dtype="bfloat16",
        context=131_072,
        default_context=16_384,
        licence="mit",
        architecture=Architecture(
            weight_bytes=int(weight_gib * GIB),
            layers=32,
            attention_heads=32,
            kv_heads=8,
            head_size=128,
            source="test",
        ),
    )


def gpu(index: int = 0, total: float = 24, free: float | None = None, **facts: object) -> Gpu:
    vendor = facts.pop("vendor", GpuVendor.NVIDIA)
    free = total - 0.5 if free is None else free
    known: dict[str, object] = {"name": f"Card {total:g}G", **facts}
    return Gpu(
        id=GpuId(f"{vendor}-{index}"),
        vendor=vendor,  # type: ignore[arg-type]
        index=index,
        uuid=f"GPU-{index}",
        vram_total_bytes=int(total * GIB),
        vram_used_bytes=int((total - free) * GIB),
        vram_free_bytes=int(free * GIB),
        **known,  # type: ignore[arg-type]
    )


def node(*gpus: Gpu, name: str = "node-a", stale: str | None = None, **facts: object) -> Node:
    known: dict[str, object] = {
        "runtimes": ("docker",),
        "memory_total_bytes": 64 * GIB,
        "memory_available_bytes": 60 * GIB,
        **facts,
    }
    inventory = GpuInventory(taken_at=1.0, gpus=gpus, stale=stale is not None, problem=stale or "")
    return Node(name=NodeName(name), inventory=inventory, **known)  # type: ignore[arg-type]


def asked(model: CatalogEntry | None = None, *, known: bool = True, **facts: object) -> FitRequest:
    defaults: dict[str, object] = {"runtime": RuntimeKind.DOCKER, **facts}
    return FitRequest(
        target="org/model",
        model=MODEL,
        entry=(model or entry()) if known else None,
        **defaults,  # type: ignore[arg-type]
    )


def verdict(decision: Decision, gpu: str | None, node: str = "node-a") -> Verdict:
    return next(verdict for verdict in decision.verdicts if (verdict.node, verdict.gpu) == (node, gpu))


def holding(gib: float, gpu: str = "nvidia-0", *, measured: bool = False, exclusive: bool = False) -> Promises:
    promise = Promise(holder="other-abc", bytes=int(gib * GIB), measured=measured, exclusive=exclusive)
    return Promises(by_device={(NodeName("node-a"), GpuId(gpu)): (promise,)})


# --- placed


def test_placed_says_where_and_in_numbers():
    decision = fit(asked(), [node(gpu())], NOTHING)
    assert (decision.node, decision.gpus) == ("node-a", ("nvidia-0",))
    assert decision.summary == "placed on node-a nvidia-0: 18.3 GiB needed, 23.5 GiB free"
    chosen = verdict(decision, "nvidia-0")
    assert chosen.chosen
    assert chosen.code == "chosen"
    assert chosen.reason == "chosen: 23.5 GiB free, 18.3 GiB needed"
    assert chosen.free_bytes == 23.5 * GIB


def test_best_filled_gpu_is_taken_and_large_ones_stay_free():
    decision = fit(asked(), [node(gpu(0, 80), gpu(1, 24), gpu(2, 48))], NOTHING)
    assert decision.gpus == ("nvidia-1",)
    other = verdict(decision, "nvidia-0")
    assert other.code == "not_chosen"
    assert other.reason.endswith("it would do, node-a nvidia-1 was preferred")


def test_node_and_then_gpu_without_its_like_is_preferred():
    nodes = [node(gpu(0, 24), gpu(1, 80), name="node-a"), node(gpu(0, 80), name="node-b")]
    spread = {NodeName("node-a"): 1}
    assert fit(asked(spread=spread), nodes, NOTHING).node == "node-b"
    on_gpu = {(NodeName("node-a"), GpuId("nvidia-0")): 1}
    assert fit(asked(spread_gpus=on_gpu), nodes[:1], NOTHING).gpus == ("nvidia-1",)


def test_assigned_gpu_is_preferred_and_kept_from_others():
    kept = node(gpu(0, 80), gpu(1, 24), assignments={GpuId("nvidia-0"): "alias"})
    assert fit(asked(entry(aliases=("alias",))), [kept], NOTHING).gpus == ("nvidia-0",)
    decision = fit(asked(), [replace(kept, assignments={GpuId("nvidia-1"): "someone"})], NOTHING)
    assert decision.gpus == ("nvidia-0",)
    assert verdict(decision, "nvidia-1").reason == "kept for someone by gpus.assignments"


def test_pinned_gpus_are_taken_exactly():
    pinned = EngineSpec(gpus=(GpuId("nvidia-2"), GpuId("nvidia-1")))
    decision = fit(asked(spec=pinned), [node(*(gpu(index) for index in range(4)))], NOTHING)
    assert decision.gpus == ("nvidia-1", "nvidia-2")
    assert decision.need.gpu_count == 2
    assert verdict(decision, "nvidia-0").code == "not_pinned"
    assert decision.summary.startswith("placed on node-a nvidia-1 and nvidia-2: ")
    assert " needed on each, " in decision.summary


def test_more_gpus_are_tried_when_one_is_too_small():
    decision = fit(asked(entry(30)), [node(*(gpu(index) for index in range(4)))], NOTHING)
    assert len(decision.gpus) == 2
    assert decision.summary.endswith("(1 GPU would not do)")


def test_several_gpus_are_alike_and_on_one_node():
    mixed = node(gpu(0, 24), gpu(1, 24, name="Other card"), gpu(2, 24, vendor=GpuVendor.AMD))
    asked_two = asked(spec=EngineSpec(gpu_count=2))
    decision = fit(asked_two, [mixed, node(gpu(0), name="node-b")], NOTHING)
    assert not decision.placed
    assert {verdict.code for verdict in decision.verdicts} == {"too_few_gpus"}
    assert decision.summary.startswith("no node has 2 like GPUs with ")
    decision = fit(asked_two, [mixed, node(gpu(0), gpu(1), name="node-b")], NOTHING)
    assert (decision.node, decision.gpus) == ("node-b", ("nvidia-0", "nvidia-1"))


def test_on_the_cpu_it_goes_where_most_memory_is_free():
    cpu = asked(entry(4), spec=EngineSpec(gpu_count=0))
    small = node(name="node-a", memory_available_bytes=10 * GIB)
    decision = fit(cpu, [small, node(name="node-b")], NOTHING)
    assert (decision.node, decision.gpus, decision.need.gpu_count) == ("node-b", (), 0)
    assert decision.summary.startswith("placed on node-b, on the CPU: ")
    assert verdict(decision, None, "node-a").code == "too_little_memory"


def test_cpu_does_not_ask_for_fresh_gpu_readings():
    assert fit(asked(entry(4), spec=EngineSpec(gpu_count=0)), [node(stale="the probe hung")], NOTHING).placed


def test_each_node_starts_engines_in_its_own_way_unless_one_is_asked_for():
    here = node(gpu(), runtimes=("podman",), default_runtime="podman")
    assert fit(asked(), [here], NOTHING).node == "node-a"
    refused = fit(asked(spec=EngineSpec(runtime=RuntimeKind.DOCKER)), [here], NOTHING)
    assert [verdict.reason for verdict in refused.verdicts] == ["node-a has no working docker runtime"]


def test_external_engine_needs_neither_gpu_nor_runtime():
    external = asked(runtime=RuntimeKind.EXTERNAL, spec=EngineSpec(url="http://10.0.0.9:8000"))
    decision = fit(external, [node(runtimes=())], NOTHING)
    assert (decision.node, decision.gpus, decision.need.per_gpu_bytes) == ("node-a", (), 0)
    assert decision.summary == "attached by node-a: the engine runs already"
    assert not fit(external, [node(status=NodeStatus.CORDONED)], NOTHING).placed


# --- refused: nodes

CLOSED = [
    ({"status": NodeStatus.CORDONED}, "node_cordoned", "is cordoned; `modelgrid cluster activate` opens it again"),
    ({"status": NodeStatus.DRAINING}, "node_draining", "is draining; `modelgrid cluster activate` opens it again"),
    ({"liveness": NodeLiveness.SUSPECT}, "node_suspect", "is suspect"),
    ({"liveness": NodeLiveness.LOST}, "node_lost", "is lost"),
    ({"runtimes": ("process",)}, "no_runtime", "has no working docker runtime; `modelgrid doctor` tells why"),
]


@pytest.mark.parametrize(("facts", "code", "words"), CLOSED)
def test_closed_node_has_one_verdict(facts, code, words):
    decision = fit(asked(), [node(gpu(), **facts)], NOTHING)
    assert not decision.placed
    (only,) = decision.verdicts
    assert (only.gpu, only.code) == (None, code)
    assert decision.summary == f"node-a {words}"


def test_all_nodes_in_the_same_state_are_said_at_once():
    nodes = [node(gpu(), name=name, status=NodeStatus.CORDONED) for name in ("node-a", "node-b")]
    assert fit(asked(), nodes, NOTHING).summary.startswith("all nodes are cordoned")


def test_labels_and_nodes_asked_for():
    decision = fit(asked(constraints=Constraints(labels={"zone": "x"})), [node(gpu(), labels={"zone": "y"})], NOTHING)
    assert decision.summary == "node-a does not have the labels asked for, zone=x"
    absent = asked(constraints=Constraints(node=NodeName("node-z")))
    assert fit(absent, [node(gpu())], NOTHING).summary == "node node-z was asked for and is not in the cluster"
    cordoned = asked(constraints=Constraints(node=NodeName("node-b")))
    nodes = [node(gpu()), node(gpu(), name="node-b", status=NodeStatus.CORDONED)]
    assert fit(cordoned, nodes, NOTHING).summary.startswith("node-b is cordoned")


def test_no_node_at_all():
    assert fit(asked(), [], NOTHING).summary == "there is no node to place it on"


# --- refused: GPUs


@pytest.mark.parametrize(
    ("given", "request_facts", "code", "words"),
    [
        (gpu(mig_enabled=True), {}, "mig_enabled", "MIG is enabled on it"),
        (gpu(simulated=True), {}, "gpu_simulated", "simulated: an engine of the docker runtime cannot use it"),
        (gpu(), {"constraints": Constraints(vendor=GpuVendor.AMD)}, "other_vendor", "a GPU of nvidia; amd asked for"),
        (gpu(free=9.8), {}, "too_little_memory", "9.80 GiB free, 18.3 GiB needed"),
        (gpu(total=16), {}, "larger_than_device", "18.3 GiB needed, 16.0 GiB is all it has"),
    ],
)
def test_gpu_that_will_not_do_says_why(given, request_facts, code, words):
    decision = fit(asked(**request_facts), [node(given)], NOTHING)
    assert not decision.placed
    only = verdict(decision, "nvidia-0")
    assert only.code == code
    assert only.reason.startswith(words)


def test_simulated_engine_takes_a_simulated_gpu():
    simulated = node(gpu(simulated=True), runtimes=("simulated",))
    assert fit(asked(runtime=RuntimeKind.SIMULATED), [simulated], NOTHING).placed


def test_stale_readings_take_nothing_new():
    decision = fit(asked(), [node(gpu(), stale="nvidia-smi gave no answer within 5 s")], NOTHING)
    assert verdict(decision, "nvidia-0").code == "inventory_stale"
    assert "nvidia-smi gave no answer within 5 s" in decision.summary
    assert decision.summary.endswith("`modelgrid gpu drivers` tells why")


def test_promised_memory_is_shown_apart():
    decision = fit(asked(), [node(gpu(free=22.4))], holding(12.6))
    only = verdict(decision, "nvidia-0")
    assert only.reason.startswith("22.4 GiB free, 12.6 GiB of it promised, 18.3 GiB needed")
    assert (only.free_bytes, only.promised_bytes) == (int(22.4 * GIB), int(12.6 * GIB))


def test_difference_too_small_to_be_seen_is_named():
    needed = fit(asked(), [node(gpu())], NOTHING).verdicts[0].needed_bytes
    assert needed is not None
    decision = fit(asked(), [node(gpu(free=(needed - 5_000_000) / GIB))], NOTHING)
    assert "4.77 MiB short" in verdict(decision, "nvidia-0").reason


def test_exactly_enough_is_enough():
    needed = fit(asked(), [node(gpu())], NOTHING).verdicts[0].needed_bytes
    assert needed is not None
    exact = replace(gpu(), vram_free_bytes=needed)
    assert fit(asked(), [node(exact)], NOTHING).placed
    assert not fit(asked(), [node(replace(exact, vram_free_bytes=needed - 1))], NOTHING).placed


def test_whole_device_is_shared_with_nobody():
    unknown = asked(known=False)
    assert fit(unknown, [node(gpu())], NOTHING).placed
    decision = fit(unknown, [node(gpu(total=80, free=79))], holding(1, measured=True))
    assert verdict(decision, "nvidia-0").code == "not_empty"
    assert decision.summary.startswith("no GPU is empty; the model is not in the catalog")
    decision = fit(asked(), [node(gpu(total=80, free=79))], holding(1, exclusive=True, measured=True))
    assert verdict(decision, "nvidia-0").reason == "other-abc takes the whole device"


def test_pinned_gpu_that_is_not_there():
    decision = fit(asked(spec=EngineSpec(gpus=(GpuId("nvidia-3"),))), [node(gpu())], NOTHING)
    assert verdict(decision, "nvidia-3").code == "gpu_missing"
    assert verdict(decision, "nvidia-0").code == "not_pinned"
    assert decision.summary == ("GPU nvidia-3 is pinned and not on node-a; `modelgrid gpu list` shows those there are")


def test_machine_without_gpus():
    decision = fit(asked(), [node()], NOTHING)
    assert verdict(decision, None).code == "no_gpu"
    assert decision.summary == (
        "no GPU was found on node-a; `modelgrid gpu drivers` tells why, and with 0 GPUs it runs on the CPU"
    )


# --- refused: what would mend it


def test_smaller_context_that_would_fit_is_named_and_fits():
    nodes = [node(gpu(free=17))]
    decision = fit(asked(), nodes, NOTHING)
    assert decision.summary == (
        "no GPU that may be used has 18.3 GiB free; it would fit on node-a with a context of 8192 tokens"
    )
    assert fit(asked(spec=EngineSpec(context=8192)), nodes, NOTHING).placed


def test_advice_does_not_flicker_with_the_readings():
    summaries = {fit(asked(), [node(gpu(free=17 + step / 100))], NOTHING).summary for step in range(50)}
    assert len(summaries) == 1


def test_more_gpus_that_would_do_are_named():
    decision = fit(asked(entry(60)), [node(gpu(0, 48), gpu(1, 24))], NOTHING)
    assert decision.summary == (
        "66.3 GiB needed, more than any GPU that may be used has; tried 1 and 2 GPUs; "
        "2 empty GPUs like Card 48G would do"
    )
    assert "on each of 2" in verdict(decision, "nvidia-0").reason


def test_busy_gpu_that_would_do_when_empty():
    decision = fit(asked(), [node(gpu(free=5))], NOTHING)
    assert decision.summary.endswith("an empty GPU like Card 24G would do")


def test_model_that_no_number_of_gpus_takes():
    decision = fit(asked(entry(4000)), [node(gpu())], NOTHING)
    assert decision.summary.endswith("no number of GPUs like Card 24G would do: choose a smaller context or model")


def test_host_memory_that_is_missing():
    decision = fit(asked(spec=EngineSpec(gpu_count=0)), [node(memory_available_bytes=17 * GIB)], NOTHING)
    assert decision.summary == (
        "no node that may be used has 18.8 GiB of host memory free; "
        "it would fit on node-a with a context of 8192 tokens"
    )
    tiny = fit(asked(spec=EngineSpec(gpu_count=0)), [node(memory_available_bytes=GIB)], NOTHING)
    assert tiny.summary.endswith("free host memory, or choose a smaller model")
