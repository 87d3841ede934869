"""`python -m benchmarks`: the console's API with a whole fleet, every gateway in turns on one core, then what deciding,
heartbeats and placing cost in large clusters; a table of each is written. See docs/benchmarks.md."""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from benchmarks import console_api, measure, verdicts, workers
from benchmarks.gateway_bounds import held
from benchmarks.load import Wrk
from benchmarks.machine import OUT, ROOT, Tree, Unavailable, cores, debian, facts, free_port, say, two_cores
from benchmarks.modelgrid import DOES, NAME, ModelGrid, version
from benchmarks.modelgrid import secret as modelgrid_key
from benchmarks.peers import PEERS, Peer, Place, Running
from benchmarks.profile import profile
from benchmarks.table import Row, document, markdown
from benchmarks.upstream import Upstream

KEY = "sk-bench-0123456789abcdefghijklmnop"
FULL_ROUNDS = 3
ALONE = {
    "scale": ("--nodes", "10,1000", "--rounds", "3"),
    "heartbeats": ("--nodes", "100", "--seconds", "10"),
    "placement": ("--placements", "20"),
}
"""Parts that are programs of their own, `benchmarks.bench_…`, and what they are given when it is to be quick."""
PARTS = ("console-api", "gateway", *ALONE)
FULL_SECONDS, QUICK_SECONDS = 5.0, 4.0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--peers", default=",".join(names), help=f"which of {', '.join(names)} (default: all)")
    parser.add_argument("--seconds", type=float, help="per run of load (default: 5, quick: 4)")
    parser.add_argument("--rounds", type=int, help="each gateway in turns, so often (default: 3, quick: 1)")
    parser.add_argument("--quick", action="store_true", help="one round, nginx and ModelGrid alone unless --peers")
    parser.add_argument("--profile", action="store_true", help="also write where ModelGrid's time goes (py-spy)")
    parser.add_argument(
        "--nice", type=int, default=0, help="priority of everything that is run, as nice(1) (below 0: root; default 0)"
    )
    parser.add_argument("--part", choices=PARTS, help="one of them alone")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the tables, as Markdown and JSON")
    chosen = parser.parse_args(argv)
    if chosen.quick and chosen.peers == ",".join(names):
        chosen.peers = "nginx"
    unknown = set(filter(None, chosen.peers.split(","))) - set(names)
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    return chosen


class Bench:
    """One run: the upstream, the tools, and what was found."""

    def __init__(self, folder: Path, chosen: argparse.Namespace) -> None:
        self._folder = folder
        self._seconds = chosen.seconds or (QUICK_SECONDS if chosen.quick else FULL_SECONDS)
        self._rounds = chosen.rounds or (1 if chosen.quick else FULL_ROUNDS)
        self._profile = chosen.profile
        self._gateway_core, self._load_core = cores()
        wanted = chosen.peers.split(",")
        self._peers = [peer for peer in PEERS if peer.name in wanted]
        self.direct = Row("direct to the upstream", "")
        self.workers: list[workers.Turn] = []
        self.workers_cores = two_cores()
        self.rows = [Row(peer.name, peer.does) for peer in self._peers] + [Row(NAME, DOES, version=version())]

    async def run(self) -> None:
        os.sched_setaffinity(0, {self._load_core})
        self._wrk = Wrk(debian("wrk", "wrk"), self._load_core, self._folder, KEY)
        ports = (free_port(), free_port())
        self._have_peers()
        upstream = Upstream(self._folder, debian("nginx-light", "nginx"), self._load_core, ports)
        await upstream.start()
        self._ports = ports
        try:
            await measure.wait_until_serving(ports[0], KEY, lambda: False, 20)
            for number in range(self._rounds):
                await self._round(number)
                await self._two_workers()
        finally:
            await upstream.stop()

    def _have_peers(self) -> None:
        for peer, row in zip(self._peers, self.rows, strict=False):
            try:
                row.version = peer.version(peer.program())
            except Unavailable as reason:
                row.unavailable = str(reason)

    async def _round(self, number: int) -> None:
        say(f"round {number + 1} of {self._rounds}: direct")
        figures = measure.Figures()
        await measure.throughput(self._wrk, self._ports[0], min(self._seconds, 3.0), figures)
        await measure.large_bodies(self._wrk, self._ports[0], figures)
        self._note(self.direct, figures)
        for row in self.rows:
            if row.unavailable:
                continue
            say(f"round {number + 1} of {self._rounds}: {row.name} {row.version}")
            peer = next((peer for peer in self._peers if peer.name == row.name), None)
            try:
                await (self._one_peer(peer, row) if peer else self._modelgrid(row, last=number + 1 == self._rounds))
            except (RuntimeError, OSError, TimeoutError) as error:
                row.wrong["run"] = str(error)
                row.rounds.append({})
                say(f"{row.name} failed: {error}")

    async def _two_workers(self) -> None:
        place = Place(self._folder, self._gateway_core, free_port(), self._ports, KEY)
        try:
            self.workers.append(await workers.turn(self._wrk, place, min(self._seconds, 3.0), self.workers_cores))
        except (RuntimeError, OSError) as error:
            self.rows[-1].wrong["two workers"] = str(error)

    async def _one_peer(self, peer: Peer, row: Row) -> None:
        place = Place(self._folder, self._gateway_core, free_port(), self._ports, KEY)
        running = await Running.start(peer, place)
        try:
            await measure.wait_until_serving(place.port, KEY, lambda: running.ended, peer.start_seconds)
            await self._measure(row, place, running.pid, lambda: running.ended)
        except RuntimeError as error:
            log = (self._folder / f"{peer.name}.log").read_text(errors="replace").strip()
            raise RuntimeError(f"{error} {log[-300:]}") from error
        finally:
            await running.stop()

    async def _modelgrid(self, row: Row, *, last: bool) -> None:
        key = modelgrid_key()
        place = Place(self._folder, self._gateway_core, free_port(), self._ports, key)
        gateway = ModelGrid(place)
        try:
            await gateway.start()
            await measure.wait_until_serving(place.port, key, lambda: gateway.ended, 20)
            await self._measure(row, place, gateway.pid, lambda: gateway.ended)
            if last and self._profile:
                wrk, seconds = replace(self._wrk, key=key), int(self._seconds) + 1
                await profile(
                    gateway.pid,
                    seconds,
                    lambda: wrk.run(
                        place.port, size=measure.SMALL, connections=32, seconds=seconds + 1, path=measure.CHAT
                    ),
                )
        finally:
            await gateway.stop()

    async def _measure(self, row: Row, place: Place, pid: int, ended: Callable[[], bool]) -> None:
        wrk, tree, figures = replace(self._wrk, key=place.key), Tree(pid), measure.Figures()
        figures.values["rss_start_mb"] = tree.rss_bytes() / 1e6
        await measure.idle_streams(place.port, place.key, self._load_core, tree, figures)
        await measure.throughput(wrk, place.port, self._seconds, figures, tree)
        await measure.large_bodies(wrk, place.port, figures)
        await measure.streams(place.port, place.key, self._load_core, tree, figures)
        if ended():
            raise RuntimeError("it ended under load")
        self._note(row, figures)

    def _note(self, row: Row, figures: measure.Figures) -> None:
        row.rounds.append(figures.values)
        row.wrong |= figures.wrong


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 0, or 1 when ModelGrid's own answers were wrong, a figure misses its bound, or the benchmark cannot
    run."""
    chosen = arguments(argv)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.nice(chosen.nice)
    chosen.out.mkdir(parents=True, exist_ok=True)
    OUT.mkdir(parents=True, exist_ok=True)
    return max([_part(name, chosen) for name in PARTS if chosen.part in (None, name)])


def _part(name: str, chosen: argparse.Namespace) -> int:
    """Measure one of `PARTS`; return its exit status, which is 0 when it kept its bounds."""
    if name == "console-api":
        return _console_api(chosen)
    if name == "gateway":
        usable = os.sched_getaffinity(0)
        try:
            return _gateways(chosen)
        finally:
            os.sched_setaffinity(0, usable)  # it keeps to one core
    argv = [sys.executable, "-m", f"benchmarks.bench_{name}", *(ALONE[name] if chosen.quick else ())]
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    (chosen.out / f"{name}.md").write_text(done.stdout)
    print(done.stdout, flush=True)
    return done.returncode


def _console_api(chosen: argparse.Namespace) -> int:
    argv = ["--out", str(chosen.out), *(["--seconds", "5", "--soak", "20"] if chosen.quick else [])]
    return console_api.main(argv)


def _gateways(chosen: argparse.Namespace) -> int:
    known = facts()
    with tempfile.TemporaryDirectory(prefix="modelgrid-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # nginx' worker is another user, where the master is root
        try:
            bench = Bench(Path(folder), chosen)
            with suppress(KeyboardInterrupt):
                asyncio.run(bench.run())
        except Unavailable as reason:
            say(f"not possible here: {reason}")
            return 1
    text = markdown(bench.rows, bench.direct)
    if bench.workers:
        text += workers.text(bench.workers, bench.workers_cores) + "\n"
    figures = held(bench.rows[-1], bench.rows[:-1], bench.direct)
    text += "\n" + verdicts.markdown(figures)
    about = "\n".join(f"- {name}: {value}" for name, value in known.items())
    (chosen.out / "bench.md").write_text(f"{about}\n\n{text}")
    made = document(bench.rows, bench.direct, known) | {"figures": [figure.document() for figure in figures]}
    (chosen.out / "bench.json").write_text(json.dumps(made, indent=2) + "\n")
    print(text)
    say(f"written to {chosen.out}/bench.md and bench.json")
    kept = all(figure.kept for figure in figures)
    return 0 if kept and bench.rows[-1].rounds and not bench.rows[-1].wrong else 1


if __name__ == "__main__":
    sys.exit(main())
