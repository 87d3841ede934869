"""What deciding costs as clusters grow: `make bench-scale`.

Simulated nodes in one process: 8 GPUs each, four deployments a node that serve. No network, no store: the decision
itself, which runs on the control plane's event loop.
"""

import argparse
import gc
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

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

    def __init__(self, count: int) -> None:
        self.nodes = [node(number) for number in range(count)]
        self.entries = {f"org/model-{number}": entry(f"org/model-{number}") for number in range(MODELS)}
        need = MemoryNeed(gpu_count=1, terms=(MemoryTerm(name="weights", bytes=20 * GIB, formula=""),))
        self.deployments: list[Deployment] = []
        for position in range(count * PER_NODE):
            where, gpu = self.nodes[position // PER_NODE], GpuId(f"nvidia-{position % PER_NODE}")
            model = ModelId(f"org/model-{position % MODELS}")
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
        wanted = [deployment.target for deployment in self.deployments]
        self.targets = [
            Target(
                name=name,
                model=ModelId(name),
                replicas=wanted.count(name),
                origin=Origin.API,
                created_at=1.0,
                updated_at=1.0,
            )
            for name in self.entries
            if name in wanted
        ]

        self.empty = [with_nothing_on_it(number) for number in range(count)]
        self.kept = Capacity()
        self.one_more()

    def steady(self) -> None:
        """A full pass with nothing to do."""
        assert self._decide(self.targets, self.kept) == ()

    def one_more(self, capacity: Capacity | None = None) -> None:
        """A full pass in which one target wants one replica more."""
        first, *others = self.targets
        (effect,) = self._decide([replace(first, replicas=first.replicas + 1), *others], capacity or self.kept)
        assert isinstance(effect, CreateDeployment)
        assert effect.decision.placed

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


def milliseconds(work: object, rounds: int) -> float:
    """Return the median of `rounds`, in CPU time: other work of the machine is not counted."""
    taken = []
    for _ in range(rounds):
        gc.collect()
        began = time.process_time()
        work()  # type: ignore[operator]
        taken.append((time.process_time() - began) * 1000)
    return statistics.median(taken)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-scale", description=__doc__)
    parser.add_argument("--nodes", default="10,100,1000")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    heads = ("nodes", "deployments", "nothing to do, ms", "one more, ms", "one more after news, ms", "all at once, ms")
    begin_table(*heads, "RSS, MB")
    for count in map(int, chosen.nodes.split(",")):
        say(f"{count} nodes")
        world = World(count)
        cells = [f"{count:,}", f"{len(world.deployments):,}"]
        for work in (world.steady, world.one_more, world.one_more_after_news, world.all_at_once):
            taken = milliseconds(work, chosen.rounds)
            cells.append(f"{taken:,.1f} ({taken * 1000 / count:,.0f} µs a node)")
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print_row([*cells, f"{rss:.0f}"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
