"""Deployments: from the row to the reason, the log and the events; stopped, started again, removed, and remembered."""

from collections.abc import Iterator

import pytest
from browser_kit import log_in, settled, watched_page
from daemon_under_test import SMALL, DaemonUnderTest
from playwright.sync_api import Browser, Page, expect

REFUSED = "meta-llama/Llama-3.3-70B-Instruct"


@pytest.fixture
def page(chromium: Browser, fleet: DaemonUnderTest) -> Iterator[Page]:
    page, seen = watched_page(chromium, fleet.console_url)
    log_in(page, at="/deployments/active")
    settled(page)
    yield page
    seen.nothing()
    page.context.close()


def test_what_cannot_be_placed_says_why_for_every_gpu(page: Page) -> None:
    page.get_by_role("link", name="pending 1").click()
    expect(page.get_by_role("row")).to_have_count(2)  # the heading and the one
    page.get_by_role("link", name="llama-3-3-70b-instruct").click()
    drawer = page.locator("mg-drawer")
    expect(drawer.get_by_text("Memory needed on each of 4 GPUs")).to_be_visible()
    expect(drawer.get_by_text("4 like GPUs with room are needed on one node")).to_have_count(2)
    assert "open=llama-3-3-70b-instruct" in page.url
    drawer.get_by_role("link", name="Events").click()
    expect(drawer.get_by_text("unplaced")).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    assert "open=" not in page.url


def test_the_log_of_a_running_one_is_in_its_drawer(page: Page) -> None:
    page.get_by_role("link", name="qwen2-5-0-5b-instruct").click()
    page.locator("mg-drawer").get_by_role("link", name="Logs", exact=True).click()
    pane = page.get_by_role("region", name="Log of")
    expect(pane.get_by_text("Application startup complete")).to_be_in_viewport()  # the newest line is in sight
    pane.evaluate("pane => pane.scrollTop = 0")
    expect(pane.get_by_text("This is a SIMULATED engine")).to_be_visible()


def test_many_are_stopped_and_started_at_once(page: Page, fleet: DaemonUnderTest) -> None:
    (running,) = [item["id"] for item in fleet.client.list_deployments()["items"] if item["model"] == SMALL]
    (waiting,) = [item["id"] for item in fleet.client.list_deployments()["items"] if item["model"] == REFUSED]
    page.get_by_label("Select all deployments").check()
    expect(page.get_by_text("2 selected")).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    question = page.locator("mg-confirm")
    expect(question.get_by_text("1 of them serves requests")).to_be_visible()
    question.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator("mg-toasts").get_by_text("2 deployments stop.")).to_be_visible()
    for one in (running, waiting):
        expect(page.get_by_role("row").filter(has_text=one).get_by_text("Stopped")).to_be_visible()
    expect(page.get_by_text("2 selected")).to_have_count(0)
    for one in (running, waiting):
        page.get_by_label(f"Select {one}").check()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("row").filter(has_text=running).get_by_text("Running")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text=waiting).get_by_text("Pending")).to_be_visible()


def test_stopped_started_removed_and_remembered(page: Page, fleet: DaemonUnderTest) -> None:
    """Runs last: the others need what it removes."""
    (one,) = [item for item in fleet.client.list_deployments()["items"] if item["model"] == SMALL]
    row = page.get_by_role("row").filter(has_text=one["id"])

    def choose(action: str) -> None:
        row.get_by_role("button", name="Actions for").click()
        row.get_by_role("button", name=action, exact=True).click()

    choose("Stop")
    expect(row.get_by_text("Stopped")).to_be_visible()
    follower = page.context.new_page()
    follower.goto(f"/deployments/history?open={one['id']}")
    followed = follower.locator("mg-drawer")
    expect(followed.get_by_text("stop requested by")).to_be_visible()
    expect(followed.locator("mg-status").get_by_text("Stopped")).to_be_visible()
    choose("Start")
    expect(row.get_by_text("Running")).to_be_visible()
    choose("Remove…")
    confirm = page.locator("mg-confirm")
    expect(confirm.get_by_role("button", name="Remove")).to_be_disabled()
    confirm.get_by_role("textbox").fill(one["id"])
    confirm.get_by_role("button", name="Remove").click()
    page.get_by_role("link", name="History").click()
    page.get_by_role("link", name=one["id"]).click()
    drawer = page.locator("mg-drawer")
    expect(drawer.get_by_text("remove requested by")).to_be_visible()
    drawer.get_by_role("region", name="Last lines of").evaluate("pane => pane.scrollTop = 0")
    expect(drawer.get_by_text("SIMULATED engine").first).to_be_visible()
    expect(followed.get_by_text("remove requested by")).to_be_visible()  # it was open all the time
