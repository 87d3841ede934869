"""How fast log lines are taken in, and how long the control loop is held up meanwhile.

    .venv/bin/python -m benchmarks.bench_logs [lines per second] [seconds]

Fifty deployments speak through the same followers as in the daemon (`Kept`), from a runtime that has the lines ready in
blocks; everything is parsed for its level, kept in memory and written to disk by the writing thread.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import uvloop

from benchmarks.machine import ROOT
from modelgrid.adapters.clock_system import SystemClock
from modelgrid.adapters.log_files import LogFiles
from modelgrid.domain.engine import EngineRef, LogLine
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.target import RuntimeKind
from modelgrid.services.kept import KeeperTools, Kept
from modelgrid.services.live import LiveFacts
from modelgrid.services.logs.store import LogStore

DEPLOYMENTS = 50
BLOCKS_PER_SECOND = 5
"""A followed log file is looked at so often; what came since comes without a pause."""


class Talker:
    """A runtime whose engines write `rate` lines a second each, in blocks."""

    def __init__(self, rate: float, seconds: float) -> None:
        self._lines = max(1, round(rate / BLOCKS_PER_SECOND))
        self._ends = time.monotonic() + seconds

    async def logs(self, ref: EngineRef, **_: Any) -> AsyncIterator[LogLine]:
        yield LogLine(at=time.time(), stream="stdout", text="INFO:     Application startup complete.")
        number, due = 0, time.monotonic() + (hash(ref.id) % 100) / 100 / BLOCKS_PER_SECOND
        while due < self._ends:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += 1 / BLOCKS_PER_SECOND
            at = time.time()
            for _ in range(self._lines):
                number += 1
                text = f'(APIServer pid=7) INFO:     127.0.0.1:59126 - "POST /v1/completions HTTP/1.1" 200 OK {number}'
                yield LogLine(at=at, stream="stdout", text=text)


async def lag(samples: list[float], ends: float) -> None:
    """Note how much later than asked the loop comes back."""
    while (now := time.monotonic()) < ends:
        await asyncio.sleep(0.002)
        samples.append(time.monotonic() - now - 0.002)


async def run(rate: int, seconds: float, folder: Path) -> dict[str, float]:
    """Measure, print and return it."""
    logs = LogStore(LogFiles(folder), SystemClock())
    await logs.open()
    first = logs.next_seq
    tools = cast("KeeperTools", SimpleNamespace(logs=logs, live=LiveFacts(), clock=SystemClock()))
    samples: list[float] = []
    quiet: list[float] = []
    await lag(quiet, time.monotonic() + 2.0)
    print(f"lag of the idle loop:  {_quantiles(quiet)}")
    talker = Talker(rate / DEPLOYMENTS, seconds)
    began = time.monotonic()
    watching = asyncio.create_task(lag(samples, began + seconds))
    followers = []
    for number in range(DEPLOYMENTS):
        name = DeploymentId(f"talker-{number:06}")
        kept = Kept(name, tools)
        kept.follow(
            cast("Any", talker),
            EngineRef(runtime=RuntimeKind.SIMULATED, id=str(number), deployment=name, attempt=1, url=""),
        )
        assert kept.follower is not None
        followers.append(kept.follower)
    cpu = time.process_time()
    await asyncio.gather(*followers)
    took, busy = time.monotonic() - began, time.process_time() - cpu
    await watching
    await logs.close()
    taken = logs.next_seq - first
    size = sum(path.stat().st_size for path in folder.glob("*.ndjson"))  # noqa: ASYNC240  all is over
    print(f"lag of the busy loop:  {_quantiles(samples)}")
    print(f"{taken:,} lines in {took:.1f} s: {taken / took:,.0f} lines/s, {size / 1e6:.0f} MB on disk")
    print(f"processor: {busy / took * 100:.0f} % of a core, the lines' making included")
    print(f"not kept: {'nothing' if not logs.problem else logs.problem}")
    return {
        "lines_per_second": taken / took,
        "idle_p99_ms": _quantile(quiet, 0.99) * 1e3,
        "busy_p99_ms": _quantile(samples, 0.99) * 1e3,
    }


async def in_a_process(rate: int, seconds: float) -> dict[str, float]:
    """Run it in a process of its own; return what `run` does."""
    argv = [sys.executable, "-m", "benchmarks.bench_logs", str(rate), str(seconds), "--json"]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError("measuring the intake of log lines failed")
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    return found


def _quantiles(samples: list[float]) -> str:
    p50, p99 = _quantile(samples, 0.5), _quantile(samples, 0.99)
    return f"p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms, worst {max(samples) * 1e3:.1f} ms"


def _quantile(samples: list[float], share: float) -> float:
    return sorted(samples)[int(len(samples) * share)]


def main() -> None:
    rate = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    with tempfile.TemporaryDirectory() as folder:
        found = uvloop.run(run(rate, seconds, Path(folder)))
    if "--json" in sys.argv:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
