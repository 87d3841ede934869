"""Settings: changed in a form, refused beside the field, reviewed, saved, applied or marked for the restart."""

import json

from browser_kit import log_in, settled, watched_page
from daemon_under_test import DaemonUnderTest
from playwright.sync_api import Browser, expect


def test_settings_are_reviewed_saved_and_marked(chromium: Browser, fleet: DaemonUnderTest) -> None:
    page, seen = watched_page(chromium, fleet.console_url)
    log_in(page, at="/settings")
    settled(page)
    page.get_by_label("rateLimit").fill("0")
    page.get_by_role("button", name="Review and save").click()
    expect(page.locator("mg-settings").get_by_role("alert").first).to_be_visible()  # the daemon's objection
    assert "rateLimit" not in fleet.config_path.read_text()
    page.get_by_label("rateLimit").fill("6000")
    page.get_by_label("networkName").fill("grid-two")
    page.get_by_role("button", name="Review and save").click()
    review = page.locator("mg-settings-diff")
    expect(review.get_by_text("api.rateLimit", exact=True)).to_be_visible()
    expect(review.get_by_text("at once")).to_have_count(1)
    expect(review.get_by_text("restart required")).to_have_count(1)
    review.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("mg-toasts").get_by_text("2 settings saved.")).to_be_visible()
    expect(page.get_by_role("button", name="Restart daemon")).to_be_visible()
    written = json.loads(fleet.config_path.read_text())
    assert (written["api"]["rateLimit"], written["docker"]["networkName"]) == (6000, "grid-two")
    seen.nothing()
    page.context.close()
