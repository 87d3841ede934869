"""A page that is left open on a whole fleet; a part of `bench_console`."""

import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import linear_regression
from typing import Any

from browser_kit import browser, first_login, settled, view_paths, watched_page
from playwright.sync_api import CDPSession, Page

from benchmarks import fleet

TABS = ("summary", "logs", "metrics", "events")
"""Of the drawer of a deployment, above the list of all of them."""
DEPLOYMENTS = 50
HEARD_SECONDS = 60.0
SETTLE_SECONDS = 5.0
LOOK_SECONDS = 10.0
"""At each view and each tab of a drawer, before the soak on the first view."""
SAMPLE_SECONDS = 15.0
BOUNDS = {"longest_task_ms": 50, "dom_nodes": 3_000, "heap_growth_mib_per_hour": 5}

WATCH = """
window.tasks = [];
const note = (list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration));
new PerformanceObserver(note).observe({ type: 'longtask' });
"""
NODES = """() => {
  const inside = (root) => [...root.querySelectorAll('*')].reduce(
    (sum, e) => sum + 1 + (e.shadowRoot ? inside(e.shadowRoot) : 0), 0);
  return inside(document);
}"""


@contextmanager
def running() -> Iterator[fleet.Daemon]:
    """Yield the control plane of a fleet whose workers report from a thread of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder, ports = Path(name), fleet.ports()
        rows = asyncio.run(fleet.prepare(folder, ports, DEPLOYMENTS))
        daemon = fleet.Daemon(folder, ports)
        ended = threading.Event()

        async def report() -> None:
            workers = fleet.Workers(daemon, folder, rows)
            workers.start()
            await asyncio.to_thread(ended.wait)
            await workers.stop()

        thread = threading.Thread(target=lambda: asyncio.run(report()))
        try:
            asyncio.run(daemon.start())
            thread.start()
            with daemon.client() as client:
                deadline = time.monotonic() + HEARD_SECONDS
                while sum(node["liveness"] == "ready" for node in client.list_nodes()["items"]) < fleet.NODES:
                    if time.monotonic() > deadline:
                        raise RuntimeError(f"not all nodes were heard: {daemon.log()[-2000:]}")
                    time.sleep(0.5)
            yield daemon
        finally:
            ended.set()
            if thread.is_alive():
                thread.join()
            daemon.stop()


def _heap(probe: CDPSession) -> float:
    """Return the bytes that are in use after everything that is garbage went."""
    probe.send("HeapProfiler.collectGarbage")
    return float(probe.send("Runtime.getHeapUsage")["usedSize"])


def _watch(page: Page, seconds: float) -> tuple[float, int]:
    """Return the longest task above 50 ms that was seen in so many seconds (0: there was none), and the DOM's nodes."""
    page.wait_for_timeout(300)  # what was collected as garbage just before is told by now
    page.evaluate("window.tasks = []")
    page.wait_for_timeout(seconds * 1000)
    return max([0.0, *page.evaluate("window.tasks")]), int(page.evaluate(NODES))


def measure(soak_seconds: float) -> dict[str, float]:
    """Return the worst of the views, and the heap's growth on the first of them over `soak_seconds`.

    The heap's line is fitted to what follows the first third: until then caches fill."""
    found: dict[str, float] = {}
    with running() as daemon, browser() as chromium:
        page, _ = watched_page(chromium, f"http://127.0.0.1:{daemon.ports.console}")
        page.add_init_script(WATCH)
        first_login(page, daemon.password)
        probe: Any = page.context.new_cdp_session(page)
        probe.send("HeapProfiler.enable")
        with daemon.client() as client:
            one = next(item["id"] for item in client.list_deployments()["items"] if item["state"] == "running")
        first, *others = view_paths()
        looks = {}
        for path in (*others, *(f"/deployments/active?open={one}&tab={tab}" for tab in TABS), first):
            page.goto(path)
            settled(page)
            page.wait_for_timeout(SETTLE_SECONDS * 1000)
            looks[path] = _watch(page, LOOK_SECONDS)
            name = path.replace(f"?open={one}&tab=", " ")
            found[f"task {name}"], found[f"nodes {name}"] = looks[path]
        samples: list[tuple[float, float]] = []
        longest = looks[first][0]
        begin = time.monotonic()
        while (passed := time.monotonic() - begin) < soak_seconds:
            samples.append((passed, _heap(probe)))
            longest = max(longest, _watch(page, SAMPLE_SECONDS)[0])
        late = [sample for sample in samples if sample[0] >= soak_seconds / 3]
        slope = linear_regression([at for at, _ in late], [size for _, size in late]).slope if len(late) > 1 else 0.0
        page.context.close()
    return {
        **found,
        "heap_mib": samples[-1][1] / 2**20,
        "heap_growth_mib_per_hour": slope * 3600 / 2**20,
        "longest_task_ms": longest,
        "dom_nodes": max(nodes for _, nodes in looks.values()),
    }
