"""The log in the browser: as long as it gets, whatever is in it, followed, paused, searched, and taken along."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser_kit import first_login, one_time_password, settled, watched_page
from daemon_under_test import QUICK_ENGINES, SMALL, DaemonUnderTest, daemon_in, wait_until
from playwright.sync_api import Browser, Locator, Page, expect

from modelgrid.adapters.log_files import LogFiles
from modelgrid.domain.event import Level
from modelgrid.domain.log import LogRecord

LINES = 200_000
SOURCES = ("daemon", "scheduler", "gateway", "deployment:gone")
ODD = (
    "<img src=x onerror=alert(1)><script>document.title='taken'</script>",
    "\x1b[1;31mred and bold\x1b[0m, \x1b]0;title\x07\x1b[38;5;34mgreen\x1b[39m, plain",
    "\u202egnp.exe \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd",
    "x" * 10_000,
    "😀 日本語 in two\nlines",
)
MOST_NODES = 3_000
"""Of the whole page, whatever the length of the log."""


def level_of(number: int) -> Level:
    return Level.ERROR if number % 1000 == 0 else Level.WARNING if number % 100 == 0 else Level.INFO


def filled(folder: Path) -> None:
    """Write a log as a daemon leaves it: `LINES` of it, and then the odd ones, several times."""
    begin = time.time() - LINES / 100
    archive = LogFiles(folder)
    archive.open()
    texts = [f"line {number:06d} was written" for number in range(LINES)] + list(ODD) * 3
    records = [
        LogRecord(seq=n + 1, at=begin + n / 100, source=SOURCES[n % 4], level=level_of(n), message=text)
        for n, text in enumerate(texts)
    ]
    while records:
        records = records[archive.append(records) :]
    archive.close()


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    """A daemon with a long log, and an engine that says each request."""
    with daemon_in(tmp_path_factory.mktemp("daemon"), engines=f"{QUICK_ENGINES} --sim-access-log") as daemon:
        filled(daemon.state_dir / "logs")
        daemon.start()
        yield daemon
        daemon.clear()
        assert daemon.stop() == 0, daemon.words()


@pytest.fixture(scope="module")
def logged_in(chromium: Browser, talkative: DaemonUnderTest) -> Any:
    page, _ = watched_page(chromium, talkative.console_url)
    first_login(page, one_time_password(talkative.state_dir))
    state = page.context.storage_state()
    page.context.close()
    return state


@pytest.fixture
def page(chromium: Browser, talkative: DaemonUnderTest, logged_in: Any) -> Iterator[Page]:
    page, seen = watched_page(chromium, talkative.console_url, storage_state=logged_in)
    page.goto("/logs")
    settled(page)
    yield page
    seen.nothing()
    page.context.close()


def pane(page: Page) -> Locator:
    return page.get_by_role("region", name="Log", exact=True)


def say(daemon: DaemonUnderTest, many: int, word: str = "say") -> None:
    """Have the engine write so many lines."""
    headers = {"Authorization": f"Bearer {daemon.key}"}
    with httpx.Client(headers=headers, timeout=30, trust_env=False) as http:
        for _ in range(many):
            body = {"model": SMALL, "prompt": word, "max_tokens": 1}
            assert http.post(f"{daemon.api_url}/v1/completions", json=body).status_code == 200


def test_two_hundred_thousand_lines_are_read_and_searched(page: Page) -> None:
    page.get_by_role("button", name="Load all").click()
    expect(page.get_by_text("there are no older ones")).to_be_visible(timeout=60_000)
    shown = page.locator(".foot span").first.inner_text()
    assert int(shown.split()[0].replace(",", "")) >= LINES
    lines = pane(page)
    lines.evaluate("pane => pane.scrollTop = 0")
    expect(lines.get_by_text("line 000000 was written")).to_be_in_viewport()
    nodes = page.evaluate(
        """() => {
          const inside = (root) => [...root.querySelectorAll('*')].reduce(
            (sum, e) => sum + 1 + (e.shadowRoot ? inside(e.shadowRoot) : 0), 0);
          return inside(document);
        }"""
    )
    assert nodes < MOST_NODES

    page.get_by_label("Find in these lines").fill("line 1000")
    expect(page.get_by_text("100 matches")).to_be_visible()
    page.get_by_label("Find in these lines").press("Enter")
    expect(lines.get_by_text("line 100000 was written")).to_be_in_viewport()
    expect(page.get_by_text("1 of 100 matches")).to_be_visible()
    lines.focus()
    page.keyboard.press("n")
    expect(page.get_by_text("2 of 100 matches")).to_be_visible()
    page.keyboard.press("N")
    page.keyboard.press("N")
    expect(page.get_by_text("100 of 100 matches")).to_be_visible()
    expect(lines.get_by_text("line 100099 was written")).to_be_in_viewport()
    page.get_by_label("Find in these lines").fill("line 19{4}9 was")
    page.get_by_role("button", name="Regular expression", exact=True).click()
    expect(page.get_by_text("1 match", exact=True)).to_be_visible()
    page.get_by_label("Find in these lines").fill("(")
    expect(page.get_by_text("No regular expression")).to_be_visible()


def test_whatever_is_written_stays_text_in_its_line(page: Page) -> None:
    page.goto("/logs?source=deployment:gone,scheduler")
    lines = pane(page)
    expect(lines.get_by_text(ODD[0]).last).to_be_visible()
    assert lines.locator("img, script").count() == 0
    assert page.title() != "taken"
    expect(lines.locator(".bold.red").last).to_have_text("red and bold")
    expect(lines.locator(".green").last).to_have_text("green")
    expect(lines.get_by_text("gnp.exe").last).not_to_contain_text("\u202e")
    heights = lines.locator("li").evaluate_all("rows => [...new Set(rows.map((row) => row.offsetHeight))]")
    assert heights == [17]
    wrap = page.get_by_role("button", name="Wrap")
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 844})
        for _ in range(2):
            wrap.click()
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    long = lines.get_by_text("xxxx")
    assert long.count() <= 3  # a row each, where they are not wrapped
    wrap.click()
    expect(long.nth(20)).to_be_attached()
    assert lines.evaluate("pane => pane.scrollWidth <= pane.clientWidth")


def test_the_newest_is_followed_until_somebody_reads(page: Page, talkative: DaemonUnderTest) -> None:
    if not talkative.deployments(SMALL):
        talkative.run(SMALL)
    page.get_by_role("button", name="deployments", exact=True).click()
    lines = pane(page)
    say(talkative, 60)
    expect(lines.get_by_text("POST /v1/completions").last).to_be_in_viewport()
    page.get_by_role("button", name="Pause", exact=True).click()
    say(talkative, 5)
    expect(page.get_by_role("button", name=re.compile("[5-9] new lines"))).to_be_visible()
    page.get_by_role("button", name=re.compile("new lines")).click()
    expect(page.get_by_role("button", name="Pause", exact=True)).to_have_attribute("aria-pressed", "false")

    lines.hover()
    page.mouse.wheel(0, -400)
    expect(page.get_by_role("button", name="To the newest")).to_be_visible()
    top = lines.evaluate("pane => pane.scrollTop")
    say(talkative, 3)
    expect(page.get_by_role("button", name=re.compile("[3-9] new lines"))).to_be_visible()
    assert lines.evaluate("pane => pane.scrollTop") == top  # what is read does not move
    page.get_by_role("button", name=re.compile("new lines")).click()
    expect(page.get_by_role("button", name=re.compile("newest|new lines"))).to_have_count(0)


def test_filters_are_in_the_address_and_the_daemon_searches(page: Page) -> None:
    lines = pane(page)
    page.get_by_label("Least level").select_option("error")
    page.get_by_role("searchbox", name="Filter the log").fill("line 0420")
    expect(lines.get_by_role("listitem")).to_have_count(1)  # far beyond what was loaded
    expect(lines.get_by_text("line 042000 was written")).to_be_visible()
    assert "level=error" in page.url
    assert "q=line+0420" in page.url
    page.get_by_role("searchbox", name="Filter the log").fill("line 04[23]000")
    page.get_by_role("button", name="Regular expression in the filter").click()
    expect(lines.get_by_role("listitem")).to_have_count(2)
    lines.get_by_role("listitem").last.locator("a.at").click()
    expect(page.get_by_role("region", name="Chosen line").get_by_text("line 043000 was written")).to_be_visible()
    page.get_by_role("button", name="Copy link").click()
    wait_until("the link is on the clipboard", lambda: "line=43001" in page.evaluate("navigator.clipboard.readText()"))
    page.get_by_role("link", name="What was said around it").click()
    expect(lines.get_by_text("line 043000 was written")).to_be_in_viewport()
    expect(lines.get_by_text("line 043001 was written")).to_be_in_viewport()
    expect(lines.get_by_text("line 042999 was written")).to_be_in_viewport()

    page.goto("/logs?q=(&regex=1")
    expect(page.get_by_role("alert")).to_contain_text("regular expression")
    page.goto("/logs?line=777")
    expect(lines.get_by_text("line 000776 was written")).to_be_in_viewport()
    expect(lines.locator("li.chosen")).to_have_count(1)


def test_what_is_here_and_all_that_match_can_be_taken_along(page: Page) -> None:
    page.goto("/logs?source=scheduler&q=line%200000")
    expect(pane(page).get_by_role("listitem")).to_have_count(25)
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as here:
        page.get_by_role("button", name="as NDJSON (25 lines)").click()
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as all_of_it:
        page.get_by_role("link", name="All that the daemon has").click()
    first, second = (
        [json.loads(line) for line in Path(one.value.path()).read_text().splitlines()] for one in (here, all_of_it)
    )
    assert len(first) == 25
    assert first == second
    assert first[0]["message"] == "line 000001 was written"
