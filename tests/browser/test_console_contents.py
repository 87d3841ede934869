"""What each view is there for is in it: its headings, columns, cards and controls, by one table."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from browser_kit import log_in, settled, view_paths, watched_page
from daemon_under_test import SMALL, DaemonUnderTest, wait_until
from playwright.sync_api import Browser, Page, expect

from modelgrid import __version__

ENDED = "Qwen/Qwen3-0.6B"
GPU_READINGS = ("Utilisation", "Temperature", "Driver", "Memory clock", "ECC errors")
CHARTS = ("Request rate", "Error rate", "Latency", "Time to first token", "Model throughput", "VRAM occupancy")


@dataclass(frozen=True)
class Expected:
    heading: str
    below: tuple[str, ...] = ()
    """Headings of its cards."""
    columns: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    """Text in the view, exactly so."""
    buttons: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


EXPECTED = {
    "/overview/stats": Expected(
        "Degraded: 1 problem needs you",
        below=("Needs attention", "Traffic", "GPUs", "Deployments", "Latest events"),
        columns=("What", "Cause", "Impact", "For", "Deployment", "State", "Where", "Up"),
        words=("Nodes", "API", "Requests", "Errors", "Latency p95", "First token p95"),
        links=("nvidia-0 of here: ", "nvidia-1 of here: ", "qwen2-5-0-5b-instruct"),
    ),
    "/overview/configuration": Expected(
        "Configuration",
        below=("node", "api", "docker", "gpus", "models", "containers", "cluster"),
        words=("uiPort", "networkName", "autoDetect", "registryUrl", "role"),
        buttons=("Copy JSON",),
        links=("Settings",),
    ),
    "/cluster/nodes": Expected(
        "Nodes",
        columns=("Name", "Status", "Liveness", "Heartbeat", "Version", "Advertised URL", "GPUs", "Deployments"),
        words=("standalone", "Active", "Ready"),
        buttons=("Add node", "Actions for here"),
    ),
    "/cluster/placements": Expected("Placements", columns=("Model", "Placed", "here"), words=("0 of 1",)),
    "/cluster/desired": Expected(
        "Desired state",
        columns=("Model", "Desired", "Running", "Still to do", "Where", "Origin", "Changed"),
        words=("+1 replica", "as desired"),
        buttons=(f"Actions for {SMALL}",),
        links=("Ensure a model",),
    ),
    "/gpus/devices": Expected("GPU devices", below=("nvidia-0", "nvidia-1"), words=GPU_READINGS),
    "/gpus/drivers": Expected(
        "GPU drivers", below=("NVIDIA",), words=("Hardware", "Driver", "Toolkit", "For containers")
    ),
    "/deployments/active": Expected(
        "Active deployments",
        columns=("Deployment", "State", "Model", "GPUs", "Port", "Requests/s", "Errors", "Uptime"),
        words=("Running", "Pending"),
        buttons=("Copy container id", "Actions for qwen2-5-0-5b-instruct"),
        links=("all 2", "pending 1", "running 1"),
    ),
    "/deployments/history": Expected(
        "Deployment history",
        columns=("Deployment", "Ended as", "Reason", "By", "Model", "Node", "Ended"),
        links=("qwen3-0-6b",),
    ),
    "/models/catalog": Expected(
        "Model catalog",
        columns=("Model", "For", "Parameters", "GPUs × VRAM", "Here", "Licence", "Source"),
        words=("chat, completions", "packaged", "fits now"),
        buttons=("Refresh", "Deploy BAAI/bge-m3"),
    ),
    "/models/deployed": Expected(
        "Deployed models",
        columns=("Model", "Also called", "State", "Replicas", "Nodes"),
        words=("1 of 1",),
        links=("API key", "Deployments"),
    ),
    "/access/apikeys": Expected(
        "API keys",
        columns=("Label", "Prefix", "Status", "Scope", "Created", "Last used", "Expires"),
        words=("all models",),
        buttons=("Generate", "Actions for tests"),
    ),
    "/access/clients": Expected("Clients", below=("Not yet configured",), links=("API keys",)),
    "/logs": Expected(
        "Logs",
        buttons=("daemon", "scheduler", "gateway", "deployments", "Pause", "Download"),
    ),
    "/metrics": Expected(
        "Metrics",
        below=(*CHARTS, "For more than a look: Prometheus and Grafana", "Grafana dashboard"),
        links=("15 min", "1 h", "Download"),
    ),
    "/settings": Expected(
        "Settings",
        below=("Node", "API", "Docker", "GPUs", "Models", "Cluster"),
        words=("rateLimit", "socketPath", "autoDetect", "autoLoad", "heartbeatInterval", "restart required"),
    ),
}
DRAWER = {
    "summary": Expected(
        "Active deployments", below=("Scheduling decision", "Settings in force"), words=("Address", "Attempt", "Origin")
    ),
    "logs": Expected("Active deployments", buttons=("Pause", "Download")),
    "metrics": Expected(
        "Active deployments", below=("Latency, last ", "Token throughput", "VRAM occupancy"), words=("KV cache in use",)
    ),
    "events": Expected("Active deployments", words=("scheduled", "ready")),
}
"""By tab of the drawer of a deployment that runs."""


@pytest.fixture
def page(chromium: Browser, fleet: DaemonUnderTest) -> Iterator[Page]:
    fleet.run(ENDED)
    fleet.client.delete_target(ENDED)
    wait_until("it is gone", lambda: not fleet.deployments(ENDED))
    page, seen = watched_page(chromium, fleet.console_url, viewport={"width": 1440, "height": 900})
    log_in(page)
    yield page
    seen.nothing()
    page.context.close()


def holds(page: Page, path: str, expected: Expected) -> None:
    page.goto(path)
    settled(page)
    main = page.get_by_role("main")
    expect(main.get_by_role("heading", level=1), path).to_have_text(expected.heading)
    for name in expected.below:
        expect(main.get_by_role("heading", name=name).first, path).to_be_visible()
    for name in expected.columns:
        expect(main.get_by_role("columnheader", name=name, exact=True).first, path).to_be_visible()
    for text in expected.words:
        expect(main.get_by_text(text, exact=True).filter(visible=True).first, path).to_be_visible()
    for name in expected.buttons:
        expect(main.get_by_role("button", name=name).first, path).to_be_visible()
    for name in expected.links:
        expect(main.get_by_role("link", name=name).first, path).to_be_visible()


def test_each_view_has_what_it_is_there_for(page: Page, fleet: DaemonUnderTest) -> None:
    assert list(EXPECTED) == view_paths()
    for path, expected in EXPECTED.items():
        holds(page, path, expected)
    (one,) = fleet.deployments(SMALL)
    for tab, expected in DRAWER.items():
        holds(page, f"/deployments/active?open={one['id']}&tab={tab}", expected)


def test_the_frame_says_whose_console_it_is(page: Page, fleet: DaemonUnderTest) -> None:
    rail = page.locator("mg-rail").first
    for area in ("Overview", "Cluster", "GPUs", "Deployments", "Models", "Access", "Logs", "Metrics", "Settings"):
        expect(rail.get_by_role("link", name=area)).to_be_visible()
    expect(rail.locator(".node")).to_have_text("here")
    expect(rail.locator(".line").first).to_have_text(f"standalone v{__version__}")
    expect(rail.locator(".base")).to_contain_text(f"API {fleet.api_url}/v1")
    expect(page.locator("mg-gpu-map a path.use")).to_have_count(2)  # a line for each GPU
    expect(page.locator("mg-tiles li")).to_have_count(4)
    newest = page.locator("mg-latest-events li").first
    expect(newest).to_contain_text("qwen3-0-6b")  # it ended just now
    rail.get_by_role("link", name="Cluster").click()
    for title in ("Nodes", "Placements", "Desired"):
        expect(page.get_by_role("navigation", name="Cluster subviews").get_by_role("link", name=title)).to_be_visible()
