"""Rotating an API key: made in the browser, its secret seen once and used, revoked, and refused."""

import time

import httpx
from browser_kit import log_in, settled, watched_page
from daemon_under_test import DaemonUnderTest
from playwright.sync_api import Browser, expect

REVOKED_WITHIN_SECONDS = 5.0
"""Gateways refuse it within a second; a shared machine gets some more."""


def test_a_key_is_rotated(chromium: Browser, fleet: DaemonUnderTest) -> None:
    page, seen = watched_page(chromium, fleet.console_url)
    log_in(page, at="/access/apikeys")
    settled(page)
    page.get_by_role("button", name="Generate").click()
    make = page.locator("mg-key-dialog").get_by_role("button", name="Generate")
    expect(make).to_be_disabled()
    page.get_by_label("Label").fill("<b>nightly</b> job")
    make.click()
    expect(page.get_by_text("You will not see this secret again.")).to_be_visible()
    secret = page.locator("mg-key-dialog mg-command pre").inner_text()
    page.get_by_role("button", name="I have copied it").click()
    assert secret not in page.content()
    row = page.get_by_role("row").filter(has_text="<b>nightly</b> job")
    expect(row.get_by_text(secret[:8])).to_be_visible()
    expect(row.get_by_text("Active", exact=True)).to_be_visible()

    def answer() -> int:
        return httpx.get(f"{fleet.api_url}/v1/models", headers={"Authorization": f"Bearer {secret}"}).status_code

    assert answer() == 200
    row.get_by_role("button", name="Actions for").click()
    row.get_by_role("button", name="Revoke…", exact=True).click()
    page.locator("mg-confirm").get_by_role("textbox").fill("<b>nightly</b> job")
    page.locator("mg-confirm").get_by_role("button", name="Revoke").click()
    expect(row.get_by_text("Revoked", exact=True)).to_be_visible()
    deadline = time.monotonic() + REVOKED_WITHIN_SECONDS
    while answer() != 401:
        assert time.monotonic() < deadline, "the revoked key still opens the gateway"
    seen.nothing()
    page.context.close()
