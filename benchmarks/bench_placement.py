"""How soon a wish is an order: from `PUT targets/{model}` to the node that hears it is to start the engine.

A real control plane and 20 nodes that hold their questions over TLS: `make bench-placement`.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.bench_scale import World
from benchmarks.fleet import LOCAL, Daemon, entries, ports
from benchmarks.heartbeats import Nodes, prepare
from benchmarks.machine import facts
from modelgrid.domain.model import Capability

MOST_SECONDS = 0.3
PATIENCE_SECONDS = 20.0


async def measure(count: int, placements: int) -> list[float]:
    """Return the seconds from the call to the order, of each placement."""
    with tempfile.TemporaryDirectory() as name:
        folder, where, world = Path(name), ports(), World(count)
        await prepare(folder, where, world)
        daemon = Daemon(folder, where)
        await daemon.start()
        nodes = Nodes(daemon, folder, world)
        headers = {"Authorization": f"Bearer {daemon.token}"}
        url = f"http://127.0.0.1:{where.console}/v1/_ui/"
        models = [entry.id for entry in await entries() if Capability.CHAT in entry.capabilities]
        taken = []
        try:
            nodes.start()
            await nodes.settle()
            async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=PATIENCE_SECONDS) as client:
                (await client.post(f"{url}nodes/{LOCAL}/cordon")).raise_for_status()  # what lands there is no order
                for number in range(placements):
                    model = models[number % len(models)]
                    ordered = nodes.ordered(model)
                    began = time.monotonic()
                    answer = await client.put(f"{url}targets/{model}", json={"replicas": 1 + number // len(models)})
                    answer.raise_for_status()
                    taken.append(await asyncio.wait_for(ordered, PATIENCE_SECONDS) - began)
                    nodes.check()
        finally:
            await nodes.stop()
            daemon.stop()
        return taken


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-placement", description=__doc__)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--placements", type=int, default=50)
    chosen = parser.parse_args()
    for name, value in facts().items():
        print(f"- {name}: {value}")
    taken = asyncio.run(measure(chosen.nodes, chosen.placements))
    late = statistics.quantiles(taken, n=100, method="inclusive")
    print("\n| nodes | placements | p50, ms | p99, ms | worst, ms |\n|---:|---:|---:|---:|---:|")
    cells = (late[49], late[98], max(taken))
    print(f"| {chosen.nodes} | {len(taken)} | {' | '.join(f'{item * 1000:.0f}' for item in cells)} |")
    return 0 if late[98] <= MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
