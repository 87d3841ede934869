"""Every view in both themes and widths: readable by everybody, within the policy; with keys, on a phone, on paper."""

import re

import pytest
from browser_kit import COLOUR_RULES, THEMES, WIDTHS, log_in, settled, view_paths, violations, watched_page
from daemon_under_test import DaemonUnderTest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout


@pytest.mark.parametrize("width", WIDTHS)
def test_every_view_is_accessible(chromium: Browser, fleet: DaemonUnderTest, width: int) -> None:
    """In both themes: what is not a matter of colour is the same in the second, and is looked at once."""
    page, seen = watched_page(
        chromium, fleet.console_url, color_scheme=THEMES[0], viewport={"width": width, "height": WIDTHS[width]}
    )
    log_in(page)
    found = {}
    for path in view_paths():
        page.emulate_media(color_scheme=THEMES[0])
        page.goto(path)
        settled(page)
        assert page.evaluate("document.documentElement.dataset.theme") == THEMES[0]
        try:  # a table becomes cards once it knows its width
            page.wait_for_function(
                "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth", timeout=3000
            )
        except PlaywrightTimeout:
            pytest.fail(f"{path} scrolls sideways at {width}")
        wrong = violations(page)
        for theme in THEMES[1:]:
            page.emulate_media(color_scheme=theme)
            page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
            wrong += violations(page, COLOUR_RULES)
        if wrong:
            found[path] = wrong
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
    assert violations(page) == []
    page.get_by_role("link", name="Go to the overview").click()
    expect(page.locator("mg-overview-stats")).to_be_visible()
    page.context.close()


def test_the_palette_goes_anywhere(page: Page) -> None:
    page.keyboard.press("Control+k")
    field = page.get_by_role("combobox", name="Go to a view")
    field.fill("logs")
    expect(page.get_by_role("option").first).to_contain_text("Logs")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/logs$"))
    page.keyboard.press("Control+k")
    field.fill("qwen2-5 running")
    page.keyboard.press("Enter")
    expect(page.locator("mg-drawer aside")).to_be_visible()
    assert "open=qwen2-5" in page.url
    page.keyboard.press("Control+k")
    field.fill("nothing is called so")
    expect(page.get_by_text("Nothing is called that.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(field).to_have_count(0)
    expect(page.locator("mg-drawer aside")).to_be_visible()  # Esc closed what was above, only


def test_keys_walk_through_views_rows_and_the_drawer(page: Page) -> None:
    page.keyboard.press("g")
    page.keyboard.press("d")
    expect(page).to_have_url(re.compile("/deployments/active$"))
    expect(page.get_by_label("Filter deployments")).to_be_visible()  # the former view stays until this one is there
    settled(page)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    drawer = page.locator("mg-drawer aside")
    expect(drawer).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    focused = page.evaluate(
        "() => { let e = document.activeElement; while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;"
        " return e.localName; }"
    )
    assert focused == "tr"  # where it was before
    page.keyboard.press("/")
    page.keyboard.type("llama")
    expect(page.get_by_role("row")).to_have_count(2)
    page.keyboard.press("Escape")
    page.locator("main").focus()
    page.keyboard.press("g")
    page.keyboard.press("l")
    expect(page).to_have_url(re.compile("/logs$"))
    page.keyboard.press("g")
    page.keyboard.press("x")
    expect(page).to_have_url(re.compile("/metrics$"))
    page.keyboard.press("?")
    expect(page.get_by_label("Go to Metrics")).to_be_visible()


def test_a_narrow_page_has_its_menu_and_a_drawer_as_wide_as_itself(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="Menu", exact=True).click()
    menu = page.get_by_role("dialog", name="Menu")
    menu.get_by_role("link", name="Deployments").click()
    expect(menu).to_have_count(0)
    expect(page).to_have_url(re.compile("/deployments/active"))
    page.get_by_role("link", name="qwen2-5-0-5b-instruct").click()
    panel = page.locator("mg-drawer aside")
    expect(panel).to_have_css("width", "390px")
    for tab in ("Logs", "Metrics", "Events", "Summary"):
        page.locator("mg-drawer").get_by_role("link", name=tab, exact=True).click()
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.get_by_role("button", name="Close details").click()
    expect(panel).to_have_count(0)


def test_what_opens_over_a_view_is_accessible(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.goto("/deployments/active")
    settled(page)
    page.get_by_role("button", name="Actions for").first.click()
    page.get_by_role("button", name="Remove…", exact=True).click()
    expect(page.locator("mg-confirm").get_by_role("dialog")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")


@pytest.mark.parametrize("width", [700, 900, 1000, 1200, 1440])
def test_every_column_of_the_deployments_is_seen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("/deployments/active")
    settled(page)
    page.wait_for_function(
        """() => {
          const inside = (root) =>
            [...root.querySelectorAll('*')].flatMap((e) => [e, ...(e.shadowRoot ? inside(e.shadowRoot) : [])]);
          const scroll = inside(document).find((e) => e.localName === 'table')?.parentElement;
          return scroll && scroll.scrollWidth <= scroll.clientWidth;
        }"""
    )


def test_the_base_url_of_the_api_is_shown_and_copied(page: Page, fleet: DaemonUnderTest) -> None:
    base = fleet.client.overview()["api_url"]
    rail = page.locator("mg-rail")
    expect(rail.get_by_text(base)).to_be_visible()
    rail.get_by_role("button", name="Copy the base URL of the API").click()
    assert page.evaluate("navigator.clipboard.readText()") == base


def test_a_long_name_does_not_widen_the_filters_of_the_log(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"/logs?node={'n' * 200}")
    expect(page.get_by_label("Node", exact=True)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_paper_has_the_content_alone(page: Page) -> None:
    for path in ("/deployments/active", "/metrics", "/logs"):
        page.goto(path)
        settled(page)
        page.emulate_media(media="print")
        expect(page.locator("mg-rail").first).to_be_hidden()
        expect(page.locator("header").first).to_be_hidden()
        page.emulate_media(media="screen")
