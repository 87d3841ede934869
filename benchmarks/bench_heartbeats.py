"""What the heartbeats of large clusters cost their control plane: `make bench-heartbeats`.

The control plane is a daemon of its own and is measured from outside: processor time and memory of its control process.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

import psutil

from benchmarks.bench_scale import World
from benchmarks.fleet import Daemon, ports
from benchmarks.heartbeats import HEARTBEAT_SECONDS, Nodes, prepare
from benchmarks.machine import facts, say

MOST_SHARE, MOST_MEGABYTES = 0.25, 600


def processor_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def measure(count: int, seconds: float) -> tuple[str, bool]:
    """Return a row of the table, and whether the bounds are kept."""
    with tempfile.TemporaryDirectory() as name:
        folder, where, world = Path(name), ports(), World(count)
        await prepare(folder, where, world)
        daemon = Daemon(folder, where)
        await daemon.start()
        nodes = Nodes(daemon, folder, world)
        try:
            nodes.start()
            await nodes.settle()
            pid, done, sent, received = daemon.control, len(nodes.times), nodes.sent, nodes.received
            began = processor_seconds(pid)
            await asyncio.sleep(seconds)
            nodes.check()
            spent, reports = processor_seconds(pid) - began, len(nodes.times) - done
            rss = psutil.Process(pid).memory_info().rss / 2**20
        finally:
            await nodes.stop()
            daemon.stop()
        if reports < 0.9 * count * seconds / HEARTBEAT_SECONDS:
            raise AssertionError(f"only {reports} reports were answered; {daemon.log()[-2000:]}")
        late = statistics.quantiles(nodes.times[done:], n=100)
        share = spent / seconds
        cells = (
            f"{count:,}",
            f"{len(world.deployments):,}",
            f"{reports / seconds:.0f}",
            f"{100 * share:.1f} %",
            f"{spent * 1e6 / reports:,.0f}",
            f"{late[49] * 1000:.1f}",
            f"{late[98] * 1000:.1f}",
            f"{(nodes.sent - sent) / reports / 1024:.1f}",
            f"{(nodes.received - received) / reports / 1024:.1f}",
            f"{rss:.0f}",
        )
        return f"| {' | '.join(cells)} |", share <= MOST_SHARE and rss <= MOST_MEGABYTES


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-heartbeats", description=__doc__)
    parser.add_argument("--nodes", default="10,100,1000")
    parser.add_argument("--seconds", type=float, default=30.0)
    chosen = parser.parse_args()
    for name, value in facts().items():
        print(f"- {name}: {value}")
    heads = ("nodes", "deployments", "heartbeats/s", "of a core", "µs each", "p50, ms", "p99, ms", "KiB up", "KiB down")
    print(f"\n| {' | '.join(heads)} | RSS, MiB |\n|{'---:|' * (len(heads) + 1)}")
    kept = True
    for count in map(int, chosen.nodes.split(",")):
        say(f"{count} nodes")
        row, within = asyncio.run(measure(count, chosen.seconds))
        print(row, flush=True)
        kept &= within
    if not kept:
        print(f"\nMissed: at most {MOST_SHARE:.0%} of a core and {MOST_MEGABYTES} MiB.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
