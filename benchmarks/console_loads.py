"""Cold loads of the landing page on a slow machine over a slow line, and what is done to a long list there; a part of
`bench_console`."""

import tempfile
from pathlib import Path
from statistics import median

from browser_kit import browser, first_login, settled, watched_page
from daemon_under_test import SMALL, daemon_in

from benchmarks import console_fleet

LOADS = 5
SLOWDOWN = 4
LINE = {"offline": False, "latency": 40, "downloadThroughput": 10e6 / 8, "uploadThroughput": 10e6 / 8}
LOAD_BOUNDS = {"lcp_ms": 1000, "blocking_ms": 100, "shift": 0.02, "verdict_ms": 2000, "click_ms": 100}
LIST_BOUNDS = {"sort_ms": 100, "type_ms": 100, "drawer_ms": 100}
BOUNDS = {**LOAD_BOUNDS, **LIST_BOUNDS}

WATCH = """
window.seen = { lcp: 0, blocking: 0, shift: 0, click: 0, verdict: 0 };
const on = (type, take) => new PerformanceObserver((list) => list.getEntries().forEach(take))
  .observe({ type, buffered: true, durationThreshold: 16 });
on('largest-contentful-paint', (e) => { window.seen.lcp = e.startTime; });
on('longtask', (e) => { window.seen.blocking += Math.max(0, e.duration - 50); });
on('layout-shift', (e) => { if (!e.hadRecentInput) window.seen.shift += e.value; });
on('event', (e) => { if (e.interactionId) window.seen.click = Math.max(window.seen.click, e.duration); });
const look = () => {
  const way = ['mg-shell', 'mg-view', 'mg-overview-stats', 'mg-verdict', 'h1'];
  const heading = way.reduce((e, name) => e?.shadowRoot?.querySelector(name), document.querySelector('mg-app'));
  if (/Healthy|Degraded|Down/.test(heading?.textContent ?? '')) window.seen.verdict = performance.now();
  else requestAnimationFrame(look);
};
look();
"""

ANSWERS = """
window.slowest = 0;
const note = (list) => list.getEntries().forEach((e) => {
  if (e.interactionId) window.slowest = Math.max(window.slowest, e.duration);
});
new PerformanceObserver(note).observe({ type: 'event', durationThreshold: 16 });
"""
"""Writes down how long the page took at most from an input to the next paint; nothing below 16 ms is told."""


def measure() -> dict[str, float]:
    """Return the figures of the loads, then those of the list."""
    return {**_loads(), **_list()}


def _list() -> dict[str, float]:
    """Return the median time to the next paint of what is done to the list of 50 deployments of a fleet."""
    runs: list[dict[str, float]] = []
    with console_fleet.running() as daemon, browser() as found:
        page, _ = watched_page(found, f"http://127.0.0.1:{daemon.ports.console}")
        page.add_init_script(ANSWERS)
        first_login(page, daemon.password)
        slow = page.context.new_cdp_session(page)
        slow.send("Emulation.setCPUThrottlingRate", {"rate": SLOWDOWN})
        table = page.locator("mg-deployments-active mg-table")
        acts = {
            "sort_ms": lambda: table.get_by_role("button", name="State", exact=True).click(),
            "type_ms": lambda: table.get_by_role("searchbox").press_sequentially("running", delay=150),
            "drawer_ms": table.locator("tbody a").first.click,
        }
        for _ in range(LOADS):
            page.goto("/deployments/active")
            settled(page)
            page.wait_for_timeout(1500)
            run = {}
            for name, act in acts.items():
                page.evaluate("window.slowest = 0")
                act()
                page.wait_for_timeout(1000)
                run[name] = page.evaluate("window.slowest")
            runs.append(run)
        page.context.close()
    return {name: median(run[name] for run in runs) for name in LIST_BOUNDS}


def _loads() -> dict[str, float]:
    """Return the median of each figure over some cold loads. What blocks is counted until the click."""
    runs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder, daemon_in(Path(folder)) as daemon, browser() as found:
        daemon.start()
        page, _ = watched_page(found, daemon.console_url)
        first_login(page, (daemon.state_dir / "initial-password").read_text().strip())
        state = page.context.storage_state()
        page.context.close()
        daemon.run(SMALL)
        for _ in range(LOADS):
            page, _ = watched_page(found, daemon.console_url, storage_state=state)
            slow = page.context.new_cdp_session(page)
            slow.send("Network.enable")
            slow.send("Network.emulateNetworkConditions", LINE)
            slow.send("Emulation.setCPUThrottlingRate", {"rate": SLOWDOWN})
            page.add_init_script(WATCH)
            page.goto("/overview/stats")
            settled(page)
            page.wait_for_function("() => window.seen.verdict > 0")
            page.wait_for_timeout(1500)
            blocking = page.evaluate("window.seen.blocking")
            page.get_by_role("link", name="Configuration").click()
            page.wait_for_timeout(800)
            seen = page.evaluate("window.seen")
            runs.append({
                "lcp_ms": seen["lcp"], "blocking_ms": blocking, "shift": seen["shift"],
                "verdict_ms": seen["verdict"], "click_ms": seen["click"],
            })  # fmt: skip
            page.context.close()
        daemon.clear()
    return {name: median(run[name] for run in runs) for name in LOAD_BOUNDS}
