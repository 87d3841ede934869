"""What is shown stays true: the one stream breaks, comes back, is shared and is paused."""

import json
import re
from contextlib import suppress
from pathlib import Path

from browser_kit import first_login, log_in, one_time_password, watched_page
from daemon_under_test import SMALL, DaemonUnderTest, wait_until
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

TABS = 10
"""More than the six connections that a browser gives one host."""


def live(page: Page) -> None:
    expect(page.locator("mg-link-state")).to_have_text("Live")


def deployments(page: Page) -> list[str]:
    return sorted(
        page.locator("mg-overview-stats mg-table[label=deployments] tbody tr").evaluate_all(
            "rows => rows.map((row) => row.dataset.key)"
        )
    )


def test_a_restart_of_control_loses_and_doubles_nothing(chromium: Browser, fleet: DaemonUnderTest) -> None:
    page, seen = watched_page(chromium, fleet.console_url)
    log_in(page)
    live(page)
    wanted = sorted(item["id"] for item in fleet.deployments())
    expect(page.locator("mg-overview-stats mg-table[label=deployments] tbody tr")).to_have_count(len(wanted))
    assert deployments(page) == wanted

    fleet.wait_new_control(fleet.kill_control())
    fleet.forget_client()
    fleet.client.put_target(SMALL, {"replicas": 2})
    expect(page.locator("mg-overview-stats mg-table[label=deployments] tbody tr")).to_have_count(len(wanted) + 1)
    live(page)
    assert deployments(page) == sorted(item["id"] for item in fleet.deployments())
    seen.nothing()
    page.context.close()


def test_ten_tabs_live_on_one_connection(chromium: Browser, fleet: DaemonUnderTest) -> None:
    first, _ = watched_page(chromium, fleet.console_url)
    log_in(first)
    pages = [first, *(first.context.new_page() for _ in range(TABS - 1))]
    for page in pages[1:]:
        page.goto("/overview/stats")
    for page in pages:
        live(page)
    assert fleet.client.overview()["vitals"]["streams"] == 1
    before = len(fleet.deployments())
    fleet.client.put_target("Qwen/Qwen3-0.6B", {"replicas": 1})
    for page in pages:
        expect(page.locator("mg-overview-stats mg-table[label=deployments] tbody tr")).to_have_count(before + 1)
    fleet.client.delete_target("Qwen/Qwen3-0.6B")
    first.context.close()


def test_a_pause_freezes_what_is_shown_and_says_how_much_waits(chromium: Browser, fleet: DaemonUnderTest) -> None:
    page, _ = watched_page(chromium, fleet.console_url)
    log_in(page)
    live(page)
    rows = page.locator("mg-overview-stats mg-table[label=deployments] tbody tr")
    expect(rows).to_have_count(len(fleet.deployments()))
    shown = rows.count()
    page.get_by_role("button", name="Pause live data").click()
    fleet.client.put_target("Qwen/Qwen3-1.7B", {"replicas": 1})
    expect(page.get_by_text(re.compile(r"\d+ changes wait\."))).to_be_visible()
    expect(rows).to_have_count(shown)
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(rows).to_have_count(shown + 1)
    fleet.client.delete_target("Qwen/Qwen3-1.7B")
    page.context.close()


def test_a_daemon_that_is_gone_is_never_shown_as_healthy(chromium: Browser, fresh: DaemonUnderTest) -> None:
    page, _ = watched_page(chromium, fresh.console_url)
    first_login(page, one_time_password(fresh.state_dir))
    expect(page.get_by_role("heading", level=1)).to_have_text("Healthy")
    live(page)
    fresh.stop()
    expect(page.get_by_role("heading", level=1)).to_contain_text(re.compile(r"Unknown, last data \d+ s ago"))
    expect(page).to_have_title(re.compile(r"^\? · "))
    assert page.locator("#favicon").get_attribute("href") == "/favicon-unknown.svg"
    expect(page.get_by_text(re.compile("Not live: last known")).first).to_be_visible()
    again = page.get_by_role("button", name="Try now")
    expect(again).to_be_visible()
    fresh.start()
    with suppress(PlaywrightTimeout):  # when the start took long, the page has found it by itself already
        again.click(timeout=1000)
    live(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("Healthy")
    page.context.close()


def test_a_restart_of_the_daemon_leaves_no_gap_and_no_double_in_the_log(
    chromium: Browser, fleet: DaemonUnderTest
) -> None:
    page, seen = watched_page(chromium, fleet.console_url)
    log_in(page, at="/logs")
    live(page)
    expect(page.locator("mg-log-pane li").first).to_be_visible()
    fleet.stop()
    fleet.start()
    page.evaluate("window.dispatchEvent(new Event('online'))")
    live(page)
    fleet.run("Qwen/Qwen3-1.7B")
    fleet.client.delete_target("Qwen/Qwen3-1.7B")
    wait_until("it is gone", lambda: not fleet.deployments("Qwen/Qwen3-1.7B"))
    newest = fleet.client.list_logs(limit=1)["items"][-1]["seq"]
    expect(page.locator(f"mg-log-pane li[data-seq='{newest}']")).to_be_visible()
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="What is here, as NDJSON").click()
    here = [json.loads(line)["seq"] for line in Path(download.value.path()).read_text().splitlines()]
    there = [record["seq"] for record in fleet.client.list_logs(limit=5000)["items"]]
    assert here == [seq for seq in there if here[0] <= seq <= here[-1]]
    assert here[-1] >= newest
    seen.nothing()
    page.context.close()
