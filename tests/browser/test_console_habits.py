"""What somebody chooses is kept: keys, columns; and lists of any length are turned page by page."""

import re

from browser_kit import settled
from daemon_under_test import DaemonUnderTest
from playwright.sync_api import Page, expect

PAGE = 500
"""Rows that a table shows at once."""


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def close_sheet(page: Page) -> None:
    page.keyboard.press("Escape")
    expect(page.locator("mg-sheet")).to_have_count(0)


def test_keys_are_bound_anew_kept_and_switched_off(page: Page) -> None:
    press(page, "?")
    binding = page.get_by_label("Go to Metrics")
    expect(binding).to_have_value("g x")
    binding.fill("z z")
    binding.press("Tab")
    close_sheet(page)
    press(page, "z", "z")
    expect(page).to_have_url(re.compile("/metrics$"))

    page.goto("/overview/stats")
    settled(page)
    press(page, "g", "x")  # is no longer a way
    press(page, "g", "d")
    expect(page).to_have_url(re.compile("/deployments/active$"))
    settled(page)
    press(page, "z", "z")
    expect(page).to_have_url(re.compile("/metrics$"))

    press(page, "?")
    page.get_by_label("Go to Metrics").fill("")
    page.get_by_label("Go to Metrics").press("Tab")
    page.get_by_label("Use keys without Ctrl").uncheck()
    close_sheet(page)
    press(page, "g", "d")
    press(page, "?")
    expect(page.locator("mg-sheet")).to_have_count(0)
    expect(page).to_have_url(re.compile("/metrics$"))
    press(page, "Control+k")  # with Ctrl it always works
    expect(page.get_by_role("combobox", name="Go to a view")).to_be_focused()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    page.get_by_label("Use keys without Ctrl").check()
    close_sheet(page)
    press(page, "g", "x")
    press(page, "g", "o")
    expect(page).to_have_url(re.compile("/overview/stats$"))


def test_chosen_columns_are_kept(page: Page) -> None:
    page.goto("/deployments/active")
    settled(page)
    expect(page.get_by_role("columnheader", name="Runtime")).to_have_count(0)
    page.get_by_role("button", name="Choose columns").click()
    page.get_by_label("Runtime").check()
    page.get_by_label("Port").uncheck()
    page.keyboard.press("Escape")
    for _ in range(2):
        expect(page.get_by_role("columnheader", name="Runtime")).to_be_visible()
        expect(page.get_by_role("columnheader", name="Port")).to_have_count(0)
        page.reload()
        settled(page)


def test_lists_beyond_five_hundred_are_turned(page: Page, fleet: DaemonUnderTest) -> None:
    there = len(fleet.client.list_api_keys()["items"])
    for number in range(PAGE + 20 - there):
        fleet.client.generate_api_key({"label": f"turned-{number:03d}"})
    page.goto("/access/apikeys?sort=label")
    settled(page)
    rows = page.locator("mg-table tbody tr")
    expect(page.get_by_text("Page 1 of 2")).to_be_visible()
    page.get_by_role("link", name="Next").click()
    expect(rows).to_have_count(20)
    assert "page=2" in page.url
    page.get_by_role("searchbox").fill("turned-007")
    expect(rows).to_have_count(1)
    assert "page=" not in page.url
