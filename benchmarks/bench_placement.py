"""How soon a wish is an order: from `PUT targets/{model}` to the node that hears it is to start the engine.

A real control plane and 20 nodes that hold their questions over TLS: `make bench-placement`.
"""

import argparse
import asyncio
import statistics
import sys
import time

import httpx

from benchmarks.fleet import LOCAL, entries
from benchmarks.heartbeats import cluster
from benchmarks.machine import begin_table, print_row
from modelgrid.domain.model import Capability

MOST_SECONDS = 0.3
PATIENCE_SECONDS = 20.0


async def measure(count: int, placements: int) -> list[float]:
    """Return the seconds from the call to the order, of each placement."""
    models = [entry.id for entry in await entries() if Capability.CHAT in entry.capabilities]
    taken = []
    async with cluster(count) as (daemon, nodes):
        headers, url = {"Authorization": f"Bearer {daemon.token}"}, f"http://127.0.0.1:{daemon.ports.console}/v1/_ui/"
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
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-placement", description=__doc__)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--placements", type=int, default=50)
    chosen = parser.parse_args()
    begin_table("nodes", "placements", "p50, ms", "p99, ms", "worst, ms")
    taken = asyncio.run(measure(chosen.nodes, chosen.placements))
    late = statistics.quantiles(taken, n=100, method="inclusive")
    figures = (late[49], late[98], max(taken))
    print_row([str(chosen.nodes), str(len(taken)), *(f"{item * 1000:.0f}" for item in figures)])
    return 0 if late[98] <= MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
