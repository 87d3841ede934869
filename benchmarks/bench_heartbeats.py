"""What the heartbeats of large clusters cost their control plane: `make bench-heartbeats`.

The control plane is a daemon of its own and is measured from outside: processor time and memory of its control process.
"""

import argparse
import asyncio
import statistics
import sys
import time

import httpx
import psutil

from benchmarks.fleet import Daemon
from benchmarks.heartbeats import HEARTBEAT_SECONDS, Nodes, cluster
from benchmarks.machine import begin_table, print_row, say

MOST_SHARE, MOST_MEGABYTES = 0.25, 600
PATIENCE_SECONDS = 30.0


def processor_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def measure(count: int, seconds: float) -> tuple[tuple[str, ...], bool]:
    """Return a row of the table, and whether the bounds are kept."""
    async with cluster(count) as (daemon, nodes):
        say(f"{count} nodes are quiet: measuring for {seconds:.0f} s")
        pid, done, sent, received = daemon.control, len(nodes.times), nodes.sent, nodes.received
        began = processor_seconds(pid)
        await asyncio.sleep(seconds)
        spent, times = processor_seconds(pid) - began, nodes.times[done:]
        rss = psutil.Process(pid).memory_info().rss / 2**20
        reports = len(times)
        if reports < 0.9 * count * seconds / HEARTBEAT_SECONDS:
            raise AssertionError(f"only {reports} reports were answered; {daemon.log()[-2000:]}")
        late, routed = statistics.quantiles(times, n=100), await routing_times(daemon, nodes, count)
        share = spent / seconds
        cells = (
            f"{count:,}",
            f"{nodes.deployments:,}",
            f"{reports / seconds:.0f}",
            f"{100 * share:.1f} %",
            f"{spent * 1e6 / reports:,.0f}",
            f"{late[49] * 1000:.1f}",
            f"{late[98] * 1000:.1f}",
            f"{(nodes.sent - sent) / reports / 1024:.1f}",
            f"{(nodes.received - received) / reports / 1024:.1f}",
            f"{routed[len(routed) // 2] * 1000:.0f}",
            f"{routed[-1] * 1000:.0f}",
            f"{rss:.0f}",
        )
        return cells, share <= MOST_SHARE and rss <= MOST_MEGABYTES


async def routing_times(daemon: Daemon, nodes: Nodes, count: int) -> list[float]:
    """Return the seconds from a new API key to each node that hears of it, in order."""
    newest, began = max(nodes.routed), time.monotonic()
    url = f"http://127.0.0.1:{daemon.ports.console}/v1/_ui/apikeys"
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {daemon.token}"}, trust_env=False) as client:
        (await client.post(url, json={"label": "routed"})).raise_for_status()
    while len(nodes.routed.get(newest + 1, ())) < count:
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise AssertionError(f"only {len(nodes.routed.get(newest + 1, ()))} of {count} nodes heard of a new key")
        await asyncio.sleep(0.1)
        nodes.check()
    return sorted(at - began for at in nodes.routed[newest + 1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-heartbeats", description=__doc__)
    parser.add_argument("--nodes", default="10,100,1000")
    parser.add_argument("--seconds", type=float, default=30.0)
    chosen = parser.parse_args()
    heads = ("nodes", "deployments", "heartbeats/s", "of a core", "µs each", "p50, ms", "p99, ms", "KiB up", "KiB down")
    begin_table(*heads, "routed p50, ms", "routed all, ms", "RSS, MiB")
    kept = True
    for count in map(int, chosen.nodes.split(",")):
        say(f"{count} nodes")
        cells, within = asyncio.run(measure(count, chosen.seconds))
        print_row(cells)
        kept &= within
    if not kept:
        print(f"\nMissed: at most {MOST_SHARE:.0%} of a core and {MOST_MEGABYTES} MiB.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
