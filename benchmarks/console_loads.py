"""Cold loads of the landing page on a slow machine over a slow line; a part of `bench_console`."""

import tempfile
from pathlib import Path
from statistics import median

from browser_kit import browser, first_login, settled, watched_page
from daemon_under_test import SMALL, daemon_in

LOADS = 5
SLOWDOWN = 4
LINE = {"offline": False, "latency": 40, "downloadThroughput": 10e6 / 8, "uploadThroughput": 10e6 / 8}
BOUNDS = {"lcp_ms": 1000, "blocking_ms": 100, "shift": 0.02, "verdict_ms": 2000, "click_ms": 100}

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


def measure() -> dict[str, float]:
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
    return {name: median(run[name] for run in runs) for name in BOUNDS}
