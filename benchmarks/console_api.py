"""What the console's API costs with a whole fleet: `make bench-api`, a part of `make bench`. See docs/benchmarks.md.

A real daemon as control plane of 20 nodes with 8 GPUs each and 200 deployments; the nodes' heartbeats come from here.
"""

import argparse
import asyncio
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import uvloop

from benchmarks import bench_logs, logins, sse
from benchmarks.fleet import DEPLOYMENTS, GPUS, LOCAL, NODES, RESTLESS, SERVED, Daemon, Workers, ports, prepare
from benchmarks.machine import OUT, Tree, facts, say
from benchmarks.verdicts import Figure, markdown

CLIENTS = 200
SETTLE_SECONDS = 10.0
OVERVIEW_CALLS = 1_000
WARM_CALLS = 20
HOUR_SECONDS = 3_600.0
SOAK_MINUTES = (1, 10, 30)
"""When the soak tells what it has reached, beside its end."""
LOG_LINES_PER_SECOND = 21_000
LISTS = (
    "nodes", "gpus", "drivers", "targets", "placements", "deployments", "history", "catalog", "models", "apikeys",
    "clients", "tokens", "sessions", "audit", "timeline", "logs", "metrics/names",
)  # fmt: skip


@dataclass
class Bench:
    """One daemon, and what was found."""

    daemon: Daemon
    workers: Workers
    seconds: float
    soak_seconds: float
    figures: list[Figure] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def note(
        self, name: str, value: float, unit: str, *, most: float | None = None, least: float | None = None
    ) -> None:
        figure = Figure(name, value, unit, most=most, least=least)
        self.figures.append(figure)
        say(f"  {figure.line()}")

    async def run(self, parts: Sequence[str]) -> None:
        say(f"fleet of {NODES} nodes × {GPUS} GPUs × {DEPLOYMENTS} deployments")
        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "snapshots": self.snapshots,
            "overview": self.overview,
            "streams": self.streams,
            "logins": self.logins,
            "soak": self.soak,
            "logs": self.logs,
        }
        for part in parts:
            say(part)
            await steps[part]()
        if self.workers.refused:
            self.about["heartbeats"] = f"one was refused: {self.workers.refused}"

    async def snapshots(self) -> None:
        """Every list on a connection of its own: the first time in the daemon's life, and later."""
        for name in LISTS:
            first = await asyncio.to_thread(self._get, name)
            later = [await asyncio.to_thread(self._get, name) for _ in range(WARM_CALLS)]
            self.note(f"GET {name}, first", first.ms, "ms", most=50)
            self.note(f"GET {name}, worst of {WARM_CALLS} later", max(later).ms, "ms", most=50)
            self.about.setdefault("sizes", {})[name] = first.size

    async def overview(self) -> None:
        """One after the other on one connection, beside the heartbeats of all nodes."""
        cpu = Tree(self.daemon.control, children=False)
        before = cpu.cpu_seconds()
        began = time.monotonic()
        taken = sorted(await asyncio.to_thread(self._get_often, "overview", OVERVIEW_CALLS))
        busy, passed = cpu.cpu_seconds() - before, time.monotonic() - began
        base = await self._busy(cpu, self.seconds / 2)
        self.note("GET overview, p50", taken[len(taken) // 2] * 1000, "ms")
        self.note("GET overview, p99", taken[len(taken) * 99 // 100] * 1000, "ms", most=10)
        self.note("GET overview, CPU of control", (busy - base * passed) / len(taken) * 1000, "ms")

    async def streams(self) -> None:
        """Control's processor time without consoles, and with 200, one of which does not read."""
        cpu = Tree(self.daemon.control, children=False)
        idle = await self._busy(cpu, self.seconds)
        heard = sse.Heard()
        consoles = await self._consoles(heard)
        began, frames = time.monotonic(), heard.frames
        busy = await self._busy(cpu, self.seconds)
        rate = (heard.frames - frames) / (time.monotonic() - began) / (CLIENTS - 1)
        for console in consoles:
            console.close()
        if heard.wrong:
            raise RuntimeError(heard.wrong)
        self.note("control without consoles", idle * 100, "% of a core")
        self.note(f"events of each of {CLIENTS} consoles", rate, "per s", least=10)
        self.note(f"control with {CLIENTS} consoles", busy * 100, "% of a core")
        self.note(f"{CLIENTS} consoles by themselves", (busy - idle) * 100, "% of a core", most=15)
        self.note("others behind, with one stuck", heard.furthest_behind, "s", most=1)

    async def logins(self) -> None:
        """What clients of the gateway see while 50 people log in over and over, in turns with quiet."""
        found = await logins.measure(self.daemon, self.seconds)
        self.note("logins that cost no hash", found.cheap_per_second, "per s")
        self.note("logins", found.per_second, "per s")
        for row in found.rows:
            self.note(f"gateway, {row.name} p99, quiet", row.quiet * 1000, "ms")
            self.note(f"gateway, {row.name} p99, logins without hash", row.cheap * 1000, "ms")
            self.note(f"gateway, {row.name} p99, 50 logins at a time", row.hashed * 1000, "ms")
            self.note(f"gateway, {row.name} p99, by answering", (row.answering - 1) * 100, "%")
            self.note(f"gateway, {row.name} p99, by hashing", (row.hashing - 1) * 100, "%")
            self.note(f"gateway, {row.name} p99, by logins", (row.both - 1) * 100, "%", most=20)

    async def soak(self) -> None:
        """Control's memory after all this, with the consoles on it; in less than an hour also what an hour would give,
        from what the second half of the time added."""
        control = psutil.Process(self.daemon.control)
        heard = sse.Heard()
        consoles = await self._consoles(heard)
        samples: list[tuple[float, float]] = []
        began = time.monotonic()
        while (passed := time.monotonic() - began) < self.soak_seconds:
            samples.append((passed, control.memory_info().rss / 1e6))
            await asyncio.to_thread(self._get, "overview")
            await asyncio.sleep(1.0)
        for console in consoles:
            console.close()
        if heard.wrong:
            raise RuntimeError(heard.wrong)
        last = samples[-1][1]
        for minutes in SOAK_MINUTES:
            if minutes * 60 < self.soak_seconds:
                size = next(size for at, size in samples if at >= minutes * 60)
                self.note(f"control resident after {minutes} minutes", size, "MB", most=120)
        if self.soak_seconds < HOUR_SECONDS:
            self.note(f"control resident after {self.soak_seconds / 60:.0f} minutes", last, "MB", most=120)
            half = samples[len(samples) // 2 :]
            slope = statistics.linear_regression([at for at, _ in half], [size for _, size in half]).slope
            self.note("control resident growing by", slope * HOUR_SECONDS, "MB an hour")
        else:
            self.note("control resident after an hour", last, "MB", most=120)

    async def logs(self) -> None:
        """In a process of its own: the lines' making would be counted otherwise."""
        found = await bench_logs.in_a_process(LOG_LINES_PER_SECOND, self.seconds)
        self.note("log lines taken in", found["lines_per_second"], "per s", least=20_000)
        self.note("control loop's lag, p99, idle", found["idle_p99_ms"], "ms")
        self.note("control loop's lag, p99, with them", found["busy_p99_ms"], "ms", most=20)

    async def _consoles(self, heard: sse.Heard) -> list[sse.Console]:
        port, token = self.daemon.ports.console, self.daemon.token
        consoles = [await sse.connect(port, token, "overview,deployments", heard) for _ in range(CLIENTS - 1)]
        stuck = await sse.connect(port, token, "overview,deployments,targets,gpus,nodes,placements", sse.Heard())
        stuck.stop_reading()
        await asyncio.sleep(3.0)  # what opening them costs is over
        heard.furthest_behind = 0.0
        return [*consoles, stuck]

    async def _busy(self, cpu: Tree, seconds: float) -> float:
        """Return the share of a core that control takes."""
        before, began = cpu.cpu_seconds(), time.monotonic()
        await asyncio.sleep(seconds)
        return (cpu.cpu_seconds() - before) / (time.monotonic() - began)

    def _get(self, name: str) -> "Answer":
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.ports.console, timeout=30)
        began = time.perf_counter()
        connection.request("GET", f"/v1/_ui/{name}", headers={"Authorization": f"Bearer {self.daemon.token}"})
        answer = connection.getresponse()
        body = answer.read()
        taken = time.perf_counter() - began
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"GET {name} was answered {answer.status}: {body[:300]!r}")
        return Answer(taken * 1000, len(body))

    def _get_often(self, name: str, times: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.ports.console, timeout=30)
        headers, taken = {"Authorization": f"Bearer {self.daemon.token}"}, []
        for _ in range(times):
            began = time.perf_counter()
            connection.request("GET", f"/v1/_ui/{name}", headers=headers)
            answer = connection.getresponse()
            answer.read()
            taken.append(time.perf_counter() - began)
            if answer.status != 200:
                raise RuntimeError(f"GET {name} was answered {answer.status}")
        connection.close()
        return taken


@dataclass(frozen=True, slots=True, order=True)
class Answer:
    ms: float
    size: int
    """Bytes of the body."""


PARTS = ("snapshots", "overview", "streams", "logins", "soak", "logs")


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-api", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"which of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default: 10)")
    parser.add_argument(
        "--soak", type=float, default=60.0, help="seconds of soak; 3600 for the whole hour (default: 60)"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder for console-api.md and console-api.json")
    chosen = parser.parse_args(argv)
    unknown = set(chosen.parts.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return chosen


async def run(chosen: argparse.Namespace, folder: Path) -> Bench:
    own = ports()
    rows = await prepare(folder, own)
    daemon = Daemon(folder, own)
    workers = Workers(daemon, folder, rows)
    bench = Bench(daemon, workers, chosen.seconds, chosen.soak)
    try:
        await daemon.start()
        workers.start()
        await asyncio.to_thread(_serve_one, daemon)
        await asyncio.sleep(SETTLE_SECONDS)
        await bench.run(chosen.parts.split(","))
    finally:
        await workers.stop()
        await asyncio.to_thread(daemon.stop)
    return bench


def _serve_one(daemon: Daemon) -> None:
    """Have the control plane's own node serve a model, so that its gateway has something to do."""
    with daemon.client() as client:
        client.put_target(SERVED, {"node": LOCAL})
        deadline = time.monotonic() + 60
        while client.overview()["deployments"].get("running") != DEPLOYMENTS - RESTLESS:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the fleet did not settle: {client.overview()['deployments']}")
            time.sleep(0.2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 0, or 1 when a figure misses its bound."""
    chosen = arguments(argv)
    chosen.out.mkdir(parents=True, exist_ok=True)
    known = facts() | {"load before": f"{os.getloadavg()[0]:.1f}"}
    with tempfile.TemporaryDirectory(prefix="modelgrid-bench-", ignore_cleanup_errors=True) as folder:
        bench = uvloop.run(run(chosen, Path(folder)))
    known |= {"load after": f"{os.getloadavg()[0]:.1f}"}
    text = markdown(bench.figures)
    about = "\n".join(f"- {name}: {value}" for name, value in known.items())
    (chosen.out / "console-api.md").write_text(f"{about}\n\n{text}")
    made = {"facts": known, "about": bench.about, "figures": [figure.document() for figure in bench.figures]}
    (chosen.out / "console-api.json").write_text(json.dumps(made, indent=2) + "\n")
    print(text)
    say(f"written to {chosen.out}/console-api.md and console-api.json")
    return 0 if all(figure.kept is not False for figure in bench.figures) else 1


if __name__ == "__main__":
    sys.exit(main())
