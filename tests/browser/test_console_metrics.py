"""Figures in the browser, with real traffic; and the way from a red tile to the cause of a failure and a restart."""

import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from browser_kit import log_in, settled, violations, watched_page
from daemon_under_test import SMALL, DaemonUnderTest, wait_until
from playwright.sync_api import Browser, Locator, Page, expect

BROKEN = "Qwen/Qwen3-0.6B"


@pytest.fixture(scope="module")
def traffic(fleet: DaemonUnderTest) -> Iterator[DaemonUnderTest]:
    """The fleet, while somebody asks its model ten times a second."""
    ended = threading.Event()
    key = fleet.key

    def talk() -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False) as http:
            while not ended.wait(0.1):
                body = {"model": SMALL, "prompt": "Say something.", "max_tokens": 8}
                http.post(f"{fleet.api_url}/v1/completions", json=body)

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        yield fleet
    finally:
        ended.set()
        talker.join()


@pytest.fixture(scope="module")
def logged_in(chromium: Browser, fleet: DaemonUnderTest) -> Any:
    page, _ = watched_page(chromium, fleet.console_url)
    log_in(page)
    state = page.context.storage_state()
    page.context.close()
    return state


@pytest.fixture
def page(chromium: Browser, fleet: DaemonUnderTest, logged_in: Any) -> Iterator[Page]:
    page, seen = watched_page(chromium, fleet.console_url, storage_state=logged_in)
    yield page
    seen.nothing()
    page.context.close()


def chart(page: Page, heading: str) -> Locator:
    return page.locator(f"mg-chart[heading='{heading}']")


def test_charts_show_what_goes_through_and_zoom_by_the_address(page: Page, traffic: DaemonUnderTest) -> None:
    page.goto("/metrics")
    settled(page)
    expect(page.locator("mg-chart canvas")).to_have_count(6)
    for heading, value in (
        ("Request rate", r"requests [1-9][\d.]* /s"),
        ("Error rate", r"errors 0 %"),
        ("Latency", r"p50 [\d.]+ m?s, p95 [\d.]+ m?s, p99 [\d.]+ m?s"),
        ("Model throughput", rf"{SMALL} [1-9][\d.]* /s"),
        ("VRAM occupancy", r"here nvidia-0 [\d.]+ [GM]iB, here nvidia-1"),
    ):
        expect(chart(page, heading).get_by_role("img")).to_have_accessible_name(re.compile(value))

    table = chart(page, "Latency")
    table.get_by_text("As a table").click()
    expect(table.get_by_role("columnheader")).to_have_text(["Time", "p50", "p95", "p99"])
    expect(table.get_by_role("row").last).to_contain_text(re.compile(r"\d m?s"))
    table.get_by_text("As a table").click()

    box = chart(page, "Request rate").locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 40)
    for heading in ("Latency", "VRAM occupancy"):  # the crosshair is in all of them
        expect(chart(page, heading).locator(".when")).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.99, box["y"] + 40, steps=4)
    page.mouse.up()
    expect(page.get_by_role("link", name="Back to now")).to_be_visible()
    assert re.search(r"from=\d+&to=\d+", page.url)
    page.get_by_role("link", name="Back to now").click()
    page.get_by_label("Time").get_by_role("link", name="1 h", exact=True).click()
    page.get_by_label("Model", exact=True).select_option(SMALL)
    expect(chart(page, "Request rate").get_by_role("img")).to_have_accessible_name(re.compile(r"requests [\d.]+ /s"))
    expect(chart(page, "VRAM occupancy").get_by_role("img")).to_have_accessible_name(re.compile("qwen2-5-0-5b"))
    assert "range=1h" in page.url
    assert "model=Qwen" in page.url


def test_what_prometheus_and_grafana_need_is_there_to_copy(page: Page) -> None:
    page.goto("/metrics")
    page.get_by_role("button", name="Copy the scrape snippet").click()
    wait_until(
        "it is on the clipboard", lambda: "job_name: modelgrid" in page.evaluate("navigator.clipboard.readText()")
    )
    page.get_by_role("button", name="Copy dashboard JSON").click()
    wait_until("so is this", lambda: page.evaluate("navigator.clipboard.readText()").startswith("{"))
    assert json.loads(page.evaluate("navigator.clipboard.readText()"))["panels"]
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "modelgrid-grafana.json"


def test_the_drawer_tells_what_one_deployment_does(page: Page, traffic: DaemonUnderTest) -> None:
    page.goto("/deployments/active")
    page.get_by_role("link", name="qwen2-5-0-5b-instruct").click()
    drawer = page.locator("mg-drawer")
    expect(drawer.get_by_role("heading", name="Settings in force")).to_be_visible()
    drawer.get_by_role("link", name="Metrics", exact=True).click()
    latency = drawer.get_by_role("region", name="Latency", exact=True)
    expect(latency.get_by_text(re.compile(r"p99, of [1-9]\d* requests"))).to_be_visible()
    first = latency.get_by_text("p99, of").inner_text()
    expect(latency.get_by_text("p99, of")).not_to_have_text(first)  # the stream goes on
    expect(drawer.locator("mg-chart canvas")).to_have_count(2)
    expect(chart(page, "Token throughput").get_by_role("img")).to_have_accessible_name(re.compile("generated [1-9]"))
    assert violations(page) == []
    drawer.get_by_role("link", name="Summary", exact=True).click()
    expect(drawer.get_by_role("heading", name="Settings in force")).to_be_visible()  # figures did not take its place


def test_a_failure_is_investigated_and_the_deployment_restarted(page: Page, fleet: DaemonUnderTest) -> None:
    fleet.client.put_target(BROKEN, {"replicas": 1, "args": ["--sim-fault", "kv-too-small"]})
    (one,) = fleet.wait_for({"failed": 1}, target=BROKEN)
    page.goto("/overview/stats")
    page.get_by_role("list", name="Fleet health").get_by_role("link", name=re.compile("1 failed")).click()
    row = page.get_by_role("row").filter(has_text=one["id"])
    expect(row.get_by_text("Failed", exact=True)).to_be_visible()
    expect(page.get_by_role("row")).to_have_count(2)  # the heading, and this one
    assert "state=failed" in page.url

    row.get_by_role("link", name=one["id"]).click()
    drawer = page.locator("mg-drawer")
    drawer.get_by_role("link", name="Events", exact=True).click()
    expect(drawer.get_by_text("gave up")).to_be_visible()
    drawer.get_by_role("link", name="Logs", exact=True).click()
    expect(drawer.get_by_text("It does not run (failed): these are its last lines.")).to_be_visible()
    log = drawer.get_by_role("region", name=f"Log of {one['id']}")
    expect(log.get_by_text("KV cache").last).to_be_visible()
    drawer.get_by_label("Find in these lines").fill("kv cache")
    expect(drawer.get_by_text(re.compile("^[1-9] match"))).to_be_visible()

    attempts = fleet.event_kinds(one["id"]).count("started")
    drawer.get_by_role("button", name="Actions").click()
    drawer.get_by_role("button", name="Restart…").click()
    wait_until("it was tried again", lambda: fleet.event_kinds(one["id"]).count("started") > attempts)
    fleet.wait_for({"failed": 1}, target=BROKEN)
    drawer.get_by_role("link", name="Summary", exact=True).click()
    failure = drawer.get_by_role("region", name="Last failure")
    expect(failure).to_contain_text("KV cache")
    expect(failure).to_contain_text(f"Attempt {attempts + 1}")
    expect(drawer.get_by_text("placed on here nvidia-")).to_be_visible()
    expect(drawer.get_by_text("--sim-fault kv-too-small")).to_be_visible()
    fleet.client.delete_target(BROKEN)
