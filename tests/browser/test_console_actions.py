"""What else a button does: wanted and cleared, refreshed, deployed again, copied, in bulk, and the daemon restarted."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from browser_kit import first_login, log_in, one_time_password, settled, watched_page
from daemon_under_test import SMALL, DaemonUnderTest, daemon_in, wait_until
from playwright.sync_api import Browser, Locator, Page, expect
from tests.http_server import served

from modelgrid.adapters import catalog_packaged

OTHER = "Qwen/Qwen3-0.6B"
NEWS = "registry/only-here"


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    """The URL of a catalog with one model that the packaged one has not."""
    document = json.loads(Path(catalog_packaged.__file__).with_name("catalog.json").read_text())
    document["models"] = [{**document["models"][0], "id": NEWS, "aliases": []}]
    answer = json.dumps(document).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with served(Handler) as url:
        yield f"{url}/catalog.json"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, chromium: Browser, registry: str) -> Iterator[DaemonUnderTest]:
    """A daemon with a registry, from which nothing was taken over yet, and with one deployment."""
    with daemon_in(tmp_path_factory.mktemp("daemon"), {"models": {"registryUrl": registry}}) as daemon:
        daemon.start()
        page, _ = watched_page(chromium, daemon.console_url)
        first_login(page, one_time_password(daemon.state_dir))
        page.context.close()
        daemon.run(SMALL)
        yield daemon
        daemon.clear()
        assert daemon.stop() == 0, daemon.words()


@pytest.fixture
def page(chromium: Browser, fleet: DaemonUnderTest) -> Iterator[Page]:
    page, seen = watched_page(chromium, fleet.console_url, color_scheme="dark")
    log_in(page)
    yield page
    seen.nothing()
    page.context.close()


def go(page: Page, path: str) -> None:
    page.goto(path)
    settled(page)


def row_of(page: Page, text: str) -> Locator:
    return page.get_by_role("row").filter(has_text=text)


def deploy(page: Page) -> None:
    page.locator("mg-deploy-dialog").get_by_role("button", name="Deploy", exact=True).click()
    expect(page.locator("mg-toasts").get_by_text("is on its way")).to_be_visible()


def copied(page: Page) -> str:
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def test_a_model_is_ensured_and_cleared_again(page: Page, fleet: DaemonUnderTest) -> None:
    go(page, "/cluster/desired")
    page.get_by_role("link", name="Ensure a model").click()
    page.get_by_label("Filter models").fill(OTHER)
    page.get_by_role("button", name=f"Deploy {OTHER}").click()
    deploy(page)
    fleet.wait_for({"running": 1}, target=OTHER)

    go(page, "/cluster/desired")
    row, asked = row_of(page, OTHER), page.locator("mg-confirm")
    row.get_by_role("button", name="Actions for").click()
    row.get_by_role("button", name="Clear…").click()
    expect(asked.get_by_text(f"1 deployment of {OTHER} finish their requests")).to_be_visible()
    expect(asked.get_by_role("button", name="Clear")).to_be_disabled()
    asked.get_by_role("textbox").fill(OTHER)
    asked.get_by_role("button", name="Clear").click()
    expect(page.locator("mg-toasts").get_by_text(f"{OTHER} is no longer desired.")).to_be_visible()
    expect(row).to_have_count(0)
    assert [target["name"] for target in fleet.client.list_targets()["items"]] == [SMALL]
    wait_until("it is gone", lambda: not fleet.deployments(OTHER))


def test_an_ended_deployment_is_deployed_again_as_it_was(page: Page, fleet: DaemonUnderTest) -> None:
    (one,) = fleet.run(OTHER, context=2048, args=["--no-enable-prefix-caching"])
    fleet.client.delete_target(OTHER)
    wait_until("it is gone", lambda: not fleet.deployments(OTHER))
    go(page, "/deployments/history")
    page.get_by_role("link", name=one["id"]).click()
    page.locator("mg-drawer").get_by_role("link", name="Deploy again").click()
    dialog = page.locator("mg-deploy-dialog")
    expect(dialog.get_by_label("Context")).to_have_value("2048")
    expect(dialog.get_by_text(f"As {one['id']} was run")).to_contain_text("--no-enable-prefix-caching")
    deploy(page)
    spec = fleet.client.show_target(OTHER)["spec"]
    assert (spec["context"], spec["args"]) == (2048, ["--no-enable-prefix-caching"])
    fleet.client.delete_target(OTHER)
    wait_until("it is gone", lambda: not fleet.deployments(OTHER))


def test_what_is_ticked_is_restarted_and_removed(page: Page, fleet: DaemonUnderTest) -> None:
    ids = [one["id"] for one in fleet.run(OTHER, replicas=2)]
    before = fleet.engine_pids()
    go(page, "/deployments/active")
    rows, asked = row_of(page, OTHER), page.locator("mg-confirm")
    expect(rows.get_by_text("Running", exact=True)).to_have_count(2)
    for one in ids:
        page.get_by_label(f"Select {one}").check()
    page.get_by_role("button", name="Restart", exact=True).click()
    expect(asked.get_by_text("2 of them serve requests")).to_be_visible()
    asked.get_by_role("button", name="Restart", exact=True).click()
    expect(page.locator("mg-toasts").get_by_text("2 deployments restart.")).to_be_visible()

    def anew() -> bool:
        now = fleet.engine_pids()
        return all(one in now and now[one] != before[one] for one in ids)

    wait_until("both have new engines", anew, 60, fleet.words)
    (small,) = fleet.deployments(SMALL)
    assert fleet.engine_pids()[small["id"]] == before[small["id"]]  # it was not ticked
    expect(rows.get_by_text("Running", exact=True)).to_have_count(2)

    for one in ids:
        page.get_by_label(f"Select {one}").check()
    page.get_by_role("button", name="Remove…", exact=True).click()
    expect(asked.get_by_role("button", name="Remove")).to_be_disabled()
    asked.get_by_role("textbox").fill("2 deployments")
    asked.get_by_role("button", name="Remove").click()
    expect(page.locator("mg-toasts").get_by_text("2 deployments are being removed.")).to_be_visible()
    expect(rows).to_have_count(0)
    expect(row_of(page, SMALL)).to_have_count(1)
    assert [target["name"] for target in fleet.client.list_targets()["items"]] == [SMALL]  # it wants none any more


def test_the_configuration_is_copied_as_it_is_in_force(page: Page, fleet: DaemonUnderTest) -> None:
    go(page, "/overview/configuration")
    page.get_by_role("button", name="Copy JSON").click()
    expect(page.locator("mg-toasts").get_by_text("The configuration is on the clipboard.")).to_be_visible()
    assert json.loads(copied(page)) == fleet.client.show_config()["config"]


def test_the_command_that_installs_a_driver_is_copied(page: Page) -> None:
    def a_card_without_driver(route: Any) -> None:
        document = route.fetch().json()
        for report in document["items"]:
            report.update(simulated=False, hardware_present=True, installed=False)
        document["items"].append({**document["items"][0], "vendor": "amd", "hardware_present": False})
        route.fulfill(json=document)

    page.route("**/v1/_ui/drivers", a_card_without_driver)
    go(page, "/gpus/drivers")
    card = page.locator("mg-card[heading=NVIDIA]")
    expect(card.get_by_text("No driver")).to_be_visible()
    expect(page.locator("mg-card[heading=AMD]").get_by_text("No such hardware")).to_be_visible()
    expect(page.locator("mg-command")).to_have_count(1)  # where there is none there is nothing to install
    card.get_by_role("button", name="Copy command").click()
    expect(card.get_by_role("button", name="Copied")).to_be_visible()
    assert copied(page) == "sudo modelgrid gpu install --vendor nvidia"


def test_the_theme_that_was_chosen_is_kept(page: Page) -> None:
    root = page.locator("html")
    expect(root).to_have_attribute("data-theme", "dark")  # the system's
    page.get_by_role("button", name="Use the light theme").click()
    for _ in range(2):
        expect(root).to_have_attribute("data-theme", "light")
        expect(page.get_by_role("button", name="Use the dark theme")).to_be_visible()
        page.reload()
    page.get_by_role("button", name="Use the dark theme").click()
    expect(root).to_have_attribute("data-theme", "dark")


def test_what_the_registry_has_anew_is_announced_and_taken_over(page: Page) -> None:
    """The daemon looks by itself some seconds after its start: until then other tests have passed."""
    drift = page.get_by_role("status").filter(has_text="The catalog's source has moved on: 1 model new.")
    expect(drift).to_be_visible()
    drift.get_by_role("link", name="Open the catalog").click()
    settled(page)
    page.goto(f"/models/catalog?q={NEWS}")
    settled(page)
    expect(row_of(page, NEWS)).to_have_count(0)
    page.get_by_role("button", name="Refresh", exact=True).click()
    expect(page.locator("mg-toasts").get_by_text("The catalog is up to date")).to_be_visible()
    expect(row_of(page, NEWS).get_by_text("registry", exact=True)).to_be_visible()
    page.get_by_role("link", name="Overview").first.click()
    settled(page)
    expect(page.locator("mg-gpu-map").first).to_be_visible()
    expect(drift).to_have_count(0)


def test_a_restart_of_the_daemon_makes_hold_what_waited_for_it(page: Page, fleet: DaemonUnderTest) -> None:
    go(page, "/settings")
    page.get_by_label("networkName").fill("grid-two")
    page.get_by_role("button", name="Review and save").click()
    page.locator("mg-settings-diff").get_by_role("button", name="Save", exact=True).click()
    banner = page.get_by_text("Restart required for docker.networkName.")
    expect(banner).to_be_visible()
    control, engines = fleet.control_pid, fleet.engine_pids()
    page.get_by_role("button", name="Restart daemon").click()
    page.locator("mg-confirm").get_by_role("button", name="Restart", exact=True).click()
    expect(page.locator("mg-toasts").get_by_text("The daemon restarts.")).to_be_visible()
    fleet.wait_new_control(control)
    fleet.forget_client()
    expect(banner).to_have_count(0)  # nobody loaded the page anew
    expect(page.locator("mg-link-state")).to_have_text("Live")
    expect(page.get_by_label("networkName")).to_have_value("grid-two")
    assert fleet.client.show_config()["pending_restart"] == []
    assert fleet.engine_pids() == engines
