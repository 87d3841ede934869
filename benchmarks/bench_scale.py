"""What deciding costs as clusters grow: `make bench-scale`. Its exit status is 1 when a bound is missed.

Simulated nodes in one process: 8 GPUs each, four deployments a node that serve, of 64 targets, or each of one of its
own. No network, no store: the decision itself, which runs on the control plane's event loop.
"""

import argparse
import gc
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import psutil

from benchmarks.machine import begin_table, print_row, say
from modelgrid.decide.capacity import Capacity
from modelgrid.decide.effects import CreateDeployment
from modelgrid.decide.reconcile import reconcile
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.engine import EngineRef
from modelgrid.domain.gpu import Gpu, GpuInventory, GpuVendor
from modelgrid.domain.ids import DeploymentId, GpuId, ModelId, NodeName
from modelgrid.domain.model import Architecture, Capability, CatalogEntry
from modelgrid.domain.node import Node
from modelgrid.domain.placement import Decision, MemoryNeed, MemoryTerm, Placement
from modelgrid.domain.target import Origin, RuntimeKind, Target
from modelgrid.domain.units import GIB

GPUS, PER_NODE = 8, 4
MODELS = 64
BEATS_IN = 5
"""Heartbeats come every so many seconds: in one, that part of the nodes tells something new."""
LARGE = 1_000
"""Nodes from which on the bounds hold."""
MOST_MS = {"nothing to do": 20, "one more": 20, "one more, news of a fifth": 30, "all at once": 1_000}
MOST_MS_OF_ITS_OWN = {"nothing to do": 40, "one more": 40, "all at once": 1_000}
"""Where each deployment has a target of its own, every one of which is looked at in each pass."""
MOST_GROWTH = 1.25
"""Of the cost per node, from the smallest cluster of a run to a large one. Places are found in sorted lists, so that it
may grow as a logarithm does: all at once is within measuring of that."""
NOW = 1_000.0


def entry(name: str) -> CatalogEntry:
    return CatalogEntry(
        id=ModelId(name),
        capabilities=(Capability.CHAT,),
        parameters=8_000_000_000,
        dtype="bfloat16",
        context=131_072,
        default_context=8192,
        licence="mit",
        architecture=Architecture(
            weight_bytes=15 * GIB, layers=32, attention_heads=32, kv_heads=8, head_size=128, source="made for this"
        ),
    )


def node(number: int) -> Node:
    gpus = tuple(
        Gpu(
            id=GpuId(f"nvidia-{index}"),
            vendor=GpuVendor.NVIDIA,
            index=index,
            uuid=f"{number}-{index}",
            name="Card 80G",
            vram_total_bytes=80 * GIB,
            vram_used_bytes=20 * GIB if index < PER_NODE else 0,
            vram_free_bytes=60 * GIB if index < PER_NODE else 80 * GIB,
        )
        for index in range(GPUS)
    )
    return Node(
        name=NodeName(f"node-{number:04d}"),
        inventory=GpuInventory(taken_at=NOW - 1, gpus=gpus),
        memory_total_bytes=512 * GIB,
        memory_available_bytes=400 * GIB,
        runtimes=("docker",),
    )


def with_nothing_on_it(number: int) -> Node:
    there = node(number)
    gpus = tuple(replace(gpu, vram_used_bytes=0, vram_free_bytes=gpu.vram_total_bytes) for gpu in there.inventory.gpus)
    return replace(there, inventory=replace(there.inventory, gpus=gpus))


class World:
    """A cluster of `count` nodes in which everything desired serves."""

    def __init__(self, count: int, models: int = MODELS) -> None:
        self.nodes = [node(number) for number in range(count)]
        self.entries = {f"org/model-{number}": entry(f"org/model-{number}") for number in range(models)}
        need = MemoryNeed(gpu_count=1, terms=(MemoryTerm(name="weights", bytes=20 * GIB, formula=""),))
        self.deployments: list[Deployment] = []
        for position in range(count * PER_NODE):
            where, gpu = self.nodes[position // PER_NODE], GpuId(f"nvidia-{position % PER_NODE}")
            model = ModelId(f"org/model-{position % models}")
            name = DeploymentId(f"d-{position:05d}")
            decision = Decision(node=where.name, gpus=(gpu,), need=need, summary="placed")
            ref = EngineRef(runtime=RuntimeKind.DOCKER, id=name, deployment=name, attempt=1, url="http://127.0.0.1:1")
            served = Deployment(
                id=name,
                target=model,
                model=model,
                origin=Origin.API,
                runtime=RuntimeKind.DOCKER,
                created_at=1.0 + position,
                placement=Placement(node=where.name, gpus=(gpu,), decision=decision, placed_at=1.0),
                attempt=1,
                engine=ref,
                pulled_at=2.0,
                started_at=3.0,
                ready_at=4.0,
            )
            self.deployments.append(served)
        wanted = Counter(deployment.target for deployment in self.deployments)
        self.targets = [
            Target(
                name=name,
                model=ModelId(name),
                replicas=wanted[name],
                origin=Origin.API,
                created_at=1.0,
                updated_at=1.0,
            )
            for name in self.entries
            if name in wanted
        ]

        self.empty = [with_nothing_on_it(number) for number in range(count)]
        self.kept = Capacity()
        self.beat = 0
        self.one_more()

    def hear_a_fifth(self) -> None:
        """Take over what a second's heartbeats say: other readings of the GPUs in use, and else what they said."""
        self.beat += 1
        for position in range(self.beat % BEATS_IN, len(self.nodes), BEATS_IN):
            there = self.nodes[position]
            drifted = tuple(
                replace(gpu, vram_free_bytes=gpu.vram_free_bytes - 2**20 * (gpu.vram_used_bytes > 0))
                for gpu in there.inventory.gpus
            )
            taken_at = there.inventory.taken_at + 1
            inventory = replace(there.inventory, taken_at=taken_at, gpus=drifted)
            self.nodes[position] = replace(there, inventory=inventory)

    def steady(self) -> None:
        """A full pass with nothing to do."""
        assert self._decide(self.targets, self.kept) == ()

    def one_more(self, capacity: Capacity | None = None) -> None:
        """A full pass in which one target wants one replica more."""
        first, *others = self.targets
        (effect,) = self._decide([replace(first, replicas=first.replicas + 1), *others], capacity or self.kept)
        assert isinstance(effect, CreateDeployment)
        assert effect.decision.placed

    def one_more_after_a_fifth(self) -> None:
        """The same after a second's heartbeats (`hear_a_fifth`)."""
        self.one_more()

    def one_more_after_news(self) -> None:
        """The same when every node has told something new since the last pass."""
        self.one_more(Capacity())

    def all_at_once(self) -> None:
        """A full pass that places everything, in a cluster in which nothing runs."""
        effects = reconcile(self.targets, (), self.empty, self.entries, RuntimeKind.DOCKER, NOW)
        assert len(effects) == len(self.deployments)
        assert all(isinstance(effect, CreateDeployment) and effect.decision.placed for effect in effects)

    def _decide(self, targets: Sequence[Target], capacity: Capacity) -> tuple[object, ...]:
        return reconcile(targets, self.deployments, self.nodes, self.entries, RuntimeKind.DOCKER, NOW, capacity)


def milliseconds(work: Callable[[], None], rounds: int, before: Callable[[], None] = lambda: None) -> float:
    """Return the median of `rounds`, in CPU time: other work of the machine is not counted, nor what is done `before`
    each."""
    taken = []
    for _ in range(rounds):
        before()
        gc.collect()
        began = time.process_time()
        work()
        taken.append((time.process_time() - began) * 1000)
    return statistics.median(taken)


def measured(world: World, rounds: int) -> dict[str, float]:
    """Return what each kind of pass takes, in milliseconds of CPU time."""
    return {
        "nothing to do": milliseconds(world.steady, rounds),
        "one more": milliseconds(world.one_more, rounds),
        "one more, news of a fifth": milliseconds(world.one_more_after_a_fifth, rounds, world.hear_a_fifth),
        "one more, news of all": milliseconds(world.one_more_after_news, rounds),
        "all at once": milliseconds(world.all_at_once, rounds),
    }


def missed(
    count: int, taken: Mapping[str, float], most: Mapping[str, float], smallest: int, there: Mapping[str, float]
) -> list[str]:
    """Return which bounds (`most`, in milliseconds) a cluster of `count` nodes misses; `there` is what the smallest,
    of `smallest`, took. Smaller clusters than `LARGE` have none."""
    if count < LARGE:
        return []
    found = [
        f"{name} with {count:,} nodes: {taken[name]:,.1f} ms, at most {bound:,} ms"
        for name, bound in most.items()
        if taken[name] > bound
    ]
    for name in most:
        growth = (taken[name] / count) / (there[name] / smallest)
        if growth > MOST_GROWTH:
            found.append(f"{name} costs {growth:.2f} times as much per node as with {smallest:,} nodes")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-scale", description=__doc__)
    parser.add_argument("--nodes", default="10,100,1000")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    counts = sorted(map(int, chosen.nodes.split(",")))
    wrong: list[str] = []
    for models, most in ((MODELS, MOST_MS), (None, MOST_MS_OF_ITS_OWN)):
        first: dict[str, float] = {}
        for count in counts:
            say(f"{count} nodes, {models or 'as many as deployments'} targets")
            world = World(count, models or count * PER_NODE)
            taken = measured(world, chosen.rounds)
            if not first:
                first = taken
                if models:
                    begin_table("nodes", "deployments", "targets", *(f"{name}, ms" for name in taken), "RSS, MB")
            times = (f"{value:,.1f} ({value * 1000 / count:,.0f} µs a node)" for value in taken.values())
            rss = psutil.Process().memory_info().rss / 2**20
            print_row([f"{count:,}", f"{len(world.deployments):,}", f"{len(world.targets):,}", *times, f"{rss:.0f}"])
            wrong += missed(count, taken, most, counts[0], first)
    for item in wrong:
        print(f"\nMissed: {item}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
