"""The log view with 200,000 lines; a part of `bench_console`."""

import tempfile
import time
from pathlib import Path
from typing import Any

from browser_kit import browser, first_login, settled, watched_page
from daemon_under_test import daemon_in
from playwright.sync_api import Page, expect

from modelgrid.adapters.log_files import LogFiles
from modelgrid.domain.event import Level
from modelgrid.domain.log import LogRecord

LINES = 200_000
FRAMES = 600
APPENDS = 60
BOUNDS = {"scroll_frame_p95_ms": 25, "append_200_ms": 2}

FIND = """
window.deep = (name, root = document) => {
  for (const e of root.querySelectorAll('*')) {
    if (e.localName === name) return e;
    const found = e.shadowRoot && window.deep(name, e.shadowRoot);
    if (found) return found;
  }
};
"""
SCROLL = """async (frames) => {
  const pane = window.deep('mg-log-pane');
  const box = pane.shadowRoot.querySelector('.pane');
  box.scrollTop = box.scrollHeight / 2;
  const frame = () => new Promise(requestAnimationFrame);
  for (let i = 0; i < 10; i += 1) await frame();
  const took = [];
  let before = await frame();
  for (let i = 0; i < frames; i += 1) {
    // A quick hand on a wheel, and now and then a jump to another part.
    box.scrollTop += i % 100 === 99 ? -400_000 : 700;
    const now = await frame();
    took.push(now - before);
    before = now;
  }
  return took;
}"""
APPEND = """async (rounds) => {
  const log = window.deep('mg-log');
  const pane = window.deep('mg-log-pane');
  log.source.resume();
  pane.toEnd();
  await new Promise((done) => setTimeout(done, 1500));
  const taken = [], drawn = [];
  const later = window.setTimeout;
  let seq = log.source.lines.at(-1).seq;
  for (let round = 0; round < rounds; round += 1) {
    const value = Array.from({ length: 200 }, () => ({
      seq: ++seq, at: Date.now() / 1000, source: 'daemon', level: 'info', fields: {},
      message: `line ${seq} was written just now`,
    }));
    const begin = performance.now();
    window.setTimeout = (f) => void f(); // lines are gathered for some milliseconds before they are taken in: not here
    log.source.apply([{ id: '', topic: 'logs', op: 'append', key: 'logs', value }]);
    window.setTimeout = later;
    const between = performance.now();
    await pane.updateComplete;
    pane.getBoundingClientRect();
    taken.push(between - begin);
    drawn.push(performance.now() - between);
    await new Promise((done) => later(done, 50));
  }
  return [taken, drawn];
}"""


def filled(folder: Path) -> None:
    """Write a log as a daemon leaves it."""
    begin = time.time() - LINES / 100
    archive = LogFiles(folder)
    archive.open()
    records = [
        LogRecord(seq=n + 1, at=begin + n / 100, source="daemon", level=Level.INFO, message=f"line {n:06d} was written")
        for n in range(LINES)
    ]
    while records:
        records = records[archive.append(records) :]
    archive.close()


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _loaded(page: Page) -> None:
    page.goto("/logs?source=daemon")
    settled(page)
    page.get_by_role("button", name="Load all").click()
    expect(page.get_by_text("there are no older ones").or_(page.get_by_text("there is no room"))).to_be_visible(
        timeout=120_000
    )
    page.evaluate(FIND)


def _busy(probe: Any) -> float:
    """Return the seconds of processor time that the page's main thread has spent on its tasks."""
    metrics = {metric["name"]: metric["value"] for metric in probe.send("Performance.getMetrics")["metrics"]}
    return float(metrics["TaskDuration"])


def measure() -> dict[str, float]:
    """Return the 95th percentile of frames while scrolling, and the median cost of 200 lines: taken in, and drawn.

    Figures with `cpu` are processor time for each frame, or for 200 lines with all that follows: what else the machine
    does is not in them."""
    with tempfile.TemporaryDirectory() as folder, daemon_in(Path(folder)) as daemon, browser() as found:
        filled(daemon.state_dir / "logs")
        daemon.start()
        page, _ = watched_page(found, daemon.console_url)
        first_login(page, (daemon.state_dir / "initial-password").read_text().strip())
        _loaded(page)
        probe: Any = page.context.new_cdp_session(page)
        probe.send("Performance.enable", {"timeDomain": "threadTicks"})
        begin = _busy(probe)
        frames: list[float] = page.evaluate(SCROLL, FRAMES)
        scrolled = _busy(probe)
        taken: Any
        drawn: Any
        taken, drawn = page.evaluate(APPEND, APPENDS)
        appended = _busy(probe)
        lines = page.evaluate("window.deep('mg-log').source.lines.length")
        page.context.close()
    return {
        "lines": lines,
        "scroll_cpu_ms": (scrolled - begin) * 1000 / FRAMES,
        "scroll_frame_p50_ms": quantile(frames, 0.5),
        "scroll_frame_p95_ms": quantile(frames, 0.95),
        "append_200_ms": quantile(taken, 0.5),
        "append_200_p95_ms": quantile(taken, 0.95),
        "append_200_drawn_ms": quantile(drawn, 0.5),
        "append_200_all_cpu_ms": (appended - scrolled) * 1000 / APPENDS,
    }
