"""Getting in: the one-time password, the own one, a session that ends, a daemon that is away."""

import re

from browser_kit import PASSWORD, first_login, log_in, one_time_password, violations, watched_page
from daemon_under_test import DaemonUnderTest
from playwright.sync_api import Browser, expect


def test_the_first_password_opens_the_overview(chromium: Browser, fresh: DaemonUnderTest) -> None:
    page, seen = watched_page(chromium, fresh.console_url)
    page.goto("/gpus/devices?q=nvidia-0")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert violations(page) == []
    page.get_by_label("Password", exact=True).fill("not the password")
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page.get_by_role("alert")).to_be_visible()

    first_login(page, one_time_password(fresh.state_dir))
    expect(page.locator("mg-verdict")).to_be_visible()
    expect(page).to_have_title(re.compile("Overview ▸ Stats · ModelGrid$"))
    seen.nothing()

    page.get_by_role("button", name="Log out admin").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    log_in(page, PASSWORD, at="/gpus/devices")
    expect(page.get_by_role("article", name="nvidia-0")).to_be_visible()
    page.context.close()


def test_a_session_that_ends_leads_to_the_login_and_back(chromium: Browser, fleet: DaemonUnderTest) -> None:
    page, _ = watched_page(chromium, fleet.console_url)
    log_in(page, at="/overview/configuration")
    expect(page.get_by_text(str(fleet.config_path))).to_be_visible()
    page.evaluate("fetch('/v1/_ui/logout', { method: 'POST' })")
    page.get_by_role("link", name="GPUs").click()
    expect(page.get_by_text("The session has ended.")).to_be_visible()
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page.get_by_role("article", name="nvidia-0")).to_be_visible()
    assert page.url.endswith("/gpus/devices")
    page.context.close()
