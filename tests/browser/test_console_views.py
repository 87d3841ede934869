"""Every view, in both themes and both widths: readable by everybody, within the policy, and only from the daemon."""

import pytest
from browser_kit import THEMES, WIDTHS, log_in, settled, view_paths, violations, watched_page
from daemon_under_test import DaemonUnderTest
from playwright.sync_api import Browser, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_view_is_accessible(chromium: Browser, fleet: DaemonUnderTest, width: int, theme: str) -> None:
    page, seen = watched_page(
        chromium, fleet.console_url, color_scheme=theme, viewport={"width": width, "height": WIDTHS[width]}
    )
    log_in(page)
    found = {}
    for path in view_paths():
        page.goto(path)
        settled(page)
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        if wrong := violations(page):
            found[path] = wrong
        try:  # a table becomes cards once it knows its width
            page.wait_for_function(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth", timeout=3000
            )
        except PlaywrightTimeout:
            pytest.fail(f"{path} scrolls sideways at {width}")
    assert found == {}, "\n".join(f"{path}\n" + "\n".join(wrong) for path, wrong in found.items())
    seen.nothing()
    page.context.close()


def test_a_wrong_address_says_so_and_leads_back(chromium: Browser, fleet: DaemonUnderTest) -> None:
    page, _ = watched_page(chromium, fleet.console_url)
    log_in(page)
    answer = page.goto("/overview/nothing")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    page.get_by_role("link", name="Go to the overview").click()
    expect(page.locator("mg-overview-stats")).to_be_visible()
    page.context.close()
