"""The one stream where the browser has no SharedWorker: the tabs choose one that has it, or each has its own."""

from collections.abc import Iterator

import pytest
from browser_kit import log_in, watched_page
from daemon_under_test import DaemonUnderTest, wait_until
from playwright.sync_api import Browser, BrowserContext, Page, expect

MODEL = "Qwen/Qwen3-0.6B"
NO_WORKER = "delete window.SharedWorker;"
NO_LOCKS = NO_WORKER + "Object.defineProperty(navigator, 'locks', { value: undefined });"
"""As a page has it that came by http from another machine."""


@pytest.fixture
def context(chromium: Browser, fleet: DaemonUnderTest) -> Iterator[BrowserContext]:
    """A browser of one page, which is not loaded yet."""
    page, seen = watched_page(chromium, fleet.console_url)
    yield page.context
    seen.nothing()
    page.context.close()


def live(page: Page) -> None:
    expect(page.locator("mg-link-state")).to_have_text("Live")


def opened(context: BrowserContext, many: int) -> list[Page]:
    """Return so many tabs that are live, the first of them the one that was opened first."""
    first = context.pages[0]
    log_in(first)
    live(first)
    for page in (others := [context.new_page() for _ in range(many - 1)]):
        page.goto("/overview/stats")
        live(page)
    return [first, *others]


def follows(fleet: DaemonUnderTest, *pages: Page) -> None:
    """What is deployed and removed again comes to all of these pages, by the stream."""
    rows = [page.locator("mg-overview-stats mg-table[label=deployments] tbody tr") for page in pages]
    many = len(fleet.deployments())
    for row in rows:
        expect(row).to_have_count(many)
    fleet.client.put_target(MODEL, {"replicas": 1})
    for row in rows:
        expect(row).to_have_count(many + 1)
    fleet.client.delete_target(MODEL)
    for row in rows:
        expect(row).to_have_count(many)


def streams(fleet: DaemonUnderTest) -> int:
    many: int = fleet.client.overview()["vitals"]["streams"]
    return many


def test_tabs_without_a_shared_worker_share_the_stream_of_one(context: BrowserContext, fleet: DaemonUnderTest) -> None:
    context.add_init_script(NO_WORKER)
    leader, *others = opened(context, 3)
    assert leader.evaluate("'SharedWorker' in window") is False
    wait_until("they share one stream", lambda: streams(fleet) == 1)
    follows(fleet, leader, *others)
    leader.close()
    follows(fleet, *others)  # one of them leads now
    for page in others:
        live(page)
    wait_until("there is one stream again", lambda: streams(fleet) == 1)


def test_tabs_without_locks_have_a_stream_each(context: BrowserContext, fleet: DaemonUnderTest) -> None:
    context.add_init_script(NO_LOCKS)
    first, second = opened(context, 2)
    wait_until("each has its own stream", lambda: streams(fleet) == 2)
    follows(fleet, first, second)
    first.close()
    wait_until("its stream ends with it", lambda: streams(fleet) == 1)
    follows(fleet, second)
