"""When something is in the way: a session that ends, a daemon that is gone, a refusal. Nothing typed is lost by it."""

import re
from collections.abc import Iterator

import pytest
from browser_kit import PASSWORD, log_in, settled, violations, watched_page
from daemon_under_test import SMALL, DaemonUnderTest, wait_until
from playwright.sync_api import Browser, Page, expect

MODEL = "Qwen/Qwen3-0.6B"
OTHER = "Qwen/Qwen3-1.7B"
DEEP = (
    "/overview/stats",
    "/cluster/nodes?q=here",
    "/gpus/drivers",
    "/deployments/active?state=running&sort=-up",
    "/deployments/active?open={id}&tab=events",
    "/models/catalog?capability=chat&vram=24",
    "/access/apikeys",
    "/logs?level=warning&q=engine",
    "/metrics?range=1h",
    "/settings",
)
"""Views, filters, a drawer's tab: what a link may name."""


@pytest.fixture
def page(chromium: Browser, fleet: DaemonUnderTest) -> Iterator[Page]:
    page, seen = watched_page(chromium, fleet.console_url)
    yield page
    seen.nothing()
    page.context.close()


def end_session(page: Page) -> None:
    """Somebody ends it elsewhere; this page learns of it by a 401."""
    page.evaluate("fetch('/v1/_ui/logout', { method: 'POST' })")


def log_in_again(page: Page) -> None:
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page.locator("mg-login")).to_have_count(0)


def test_every_address_outlives_the_end_of_a_session(page: Page, fleet: DaemonUnderTest) -> None:
    (one,) = fleet.deployments(SMALL)
    log_in(page)
    for path in DEEP:
        address = path.format(id=one["id"])
        page.goto(address)
        settled(page)
        before = page.url
        end_session(page)
        page.get_by_role("button", name="Keyboard shortcuts").first.focus()
        page.reload()  # whoever comes back in the morning
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        assert page.url == before
        log_in_again(page)
        settled(page)
        assert page.url == before, address
        if "open=" in address:
            expect(page.locator("mg-drawer mg-timeline")).to_be_visible()


def test_a_session_that_ends_while_somebody_types_costs_nothing(page: Page, fleet: DaemonUnderTest) -> None:
    log_in(page, at=f"/models/catalog?deploy={MODEL}")
    settled(page)
    dialog = page.locator("mg-deploy-dialog")
    dialog.get_by_label("Environment").fill("WHO=somebody")
    dialog.get_by_label("Context").fill("2048")
    expect(page.get_by_role("region", name="Where it would land").get_by_text("2048 tokens")).to_be_visible()
    address = page.url
    end_session(page)
    dialog.get_by_role("button", name="Deploy", exact=True).click()
    expect(page.get_by_text("The session has ended.")).to_be_visible()
    log_in_again(page)
    assert page.url == address
    expect(dialog.get_by_label("Context")).to_have_value("2048")
    expect(dialog.get_by_label("Environment")).to_have_value("WHO=somebody")
    dialog.get_by_role("button", name="Deploy", exact=True).click()
    expect(page.locator("mg-toasts").get_by_text("is on its way")).to_be_visible()
    target = fleet.client.show_target(MODEL)
    assert target["spec"]["context"] == 2048
    assert list(target["spec"]["env"]) == ["WHO"]
    fleet.client.delete_target(MODEL)


def test_a_lost_connection_loses_nothing_that_was_typed(page: Page, fleet: DaemonUnderTest) -> None:
    log_in(page, at="/settings")
    settled(page)
    page.get_by_label("networkName").fill("typed-before")
    fleet.stop()
    expect(page.get_by_text(re.compile("no data for|not live")).first).to_be_visible()
    expect(page.get_by_label("networkName")).to_have_value("typed-before")
    page.get_by_label("rateLimit").fill("1234")  # and meanwhile
    page.get_by_role("button", name="Review and save").click()
    expect(page.get_by_text("The daemon does not answer.").first).to_be_visible()
    fleet.start()
    page.evaluate("window.dispatchEvent(new Event('online'))")  # at once, and not at the next try
    expect(page.locator("mg-link-state")).to_have_text("Live")
    expect(page.get_by_label("networkName")).to_have_value("typed-before")
    expect(page.get_by_label("rateLimit")).to_have_value("1234")
    page.get_by_role("button", name="Review and save").click()
    page.locator("mg-settings-diff").get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("mg-toasts").get_by_text("2 settings saved.")).to_be_visible()
    assert "typed-before" in fleet.config_path.read_text()


def test_a_dialog_waits_for_the_daemon_with_what_was_typed(page: Page, fleet: DaemonUnderTest) -> None:
    log_in(page, at="/access/apikeys")
    settled(page)
    page.get_by_role("button", name="Generate").click()
    dialog = page.locator("mg-key-dialog")
    dialog.get_by_label("Label").fill("made after all")
    fleet.stop()
    dialog.get_by_role("button", name="Generate", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("The daemon does not answer.")
    fleet.start()
    expect(dialog.get_by_label("Label")).to_have_value("made after all")
    dialog.get_by_role("button", name="Generate", exact=True).click()
    expect(dialog.get_by_text("You will not see this secret again.")).to_be_visible()
    labels = [key["label"] for key in fleet.client.list_api_keys()["items"]]
    assert labels.count("made after all") == 1


def test_a_refusal_stands_in_its_row_in_the_daemons_words(page: Page, fleet: DaemonUnderTest) -> None:
    fleet.run(OTHER)
    (one,) = fleet.deployments(OTHER)
    log_in(page, at="/deployments/active")
    settled(page)
    row = page.get_by_role("row").filter(has_text=one["id"])
    expect(row.get_by_text("Running", exact=True)).to_be_visible()
    page.get_by_role("button", name="Pause live data").click()  # what is shown may be older than what is so
    fleet.client.delete_target(OTHER)
    wait_until("it is gone", lambda: not fleet.deployments(OTHER))
    row.get_by_role("button", name="Actions for").click()
    row.get_by_role("button", name="Stop", exact=True).click()
    expect(row.get_by_role("alert")).to_contain_text(f"There is no deployment '{one['id']}'")
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.get_by_role("row").filter(has_text=one["id"])).to_have_count(0)


def test_an_action_is_confirmed_in_its_row_and_taken_back_there(page: Page, fleet: DaemonUnderTest) -> None:
    log_in(page, at="/cluster/nodes")
    settled(page)
    row = page.get_by_role("row").filter(has_text="here").last
    row.get_by_role("button", name="Actions for").click()
    row.get_by_role("button", name="Copy as command: Cordon").click()
    assert page.evaluate("navigator.clipboard.readText()") == "modelgrid cluster cordon here"
    row.get_by_role("button", name="Actions for").click()
    row.get_by_role("button", name="Copy as curl: Drain").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("curl -X POST ")
    assert "/v1/_ui/nodes/here/drain" in copied
    assert "$MODELGRID_TOKEN" in copied
    row.get_by_role("button", name="Actions for").click()
    row.get_by_role("button", name="Cordon", exact=True).click()
    expect(row.get_by_text("Cordoned: it takes nothing new.")).to_be_visible()
    expect(row.get_by_text("Cordoned", exact=True)).to_be_visible()
    row.get_by_role("button", name="Undo").click()
    expect(row.get_by_text("Active: it takes deployments again.")).to_be_visible()
    assert [node["status"] for node in fleet.client.list_nodes()["items"]] == ["active"]


def test_a_page_that_reaches_no_daemon_says_so_and_goes_on_by_itself(page: Page) -> None:
    log_in(page)
    page.route("**/v1/_ui/session", lambda route: route.abort())
    page.goto("/gpus/devices")
    expect(page.get_by_role("heading", name="The daemon does not answer")).to_be_visible()
    expect(page.get_by_text("modelgrid service status")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("button", name="Try now").click()
    expect(page.get_by_role("heading", name="The daemon does not answer")).to_be_visible()
    page.unroute("**/v1/_ui/session")
    expect(page.get_by_role("article", name="nvidia-0")).to_be_visible()  # nobody has to press anything
    assert page.url.endswith("/gpus/devices")
