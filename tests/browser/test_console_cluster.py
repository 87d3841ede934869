"""A control plane and a worker: how a node comes in, what each console shows of the cluster, and how a node goes."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from browser_kit import PASSWORD, first_login, log_in, one_time_password, settled, violations, watched_page
from cluster_kit import ClusterUnderTest, ask, call, cluster_in
from daemon_under_test import MODELGRID, SMALL, DaemonUnderTest, wait_until
from playwright.sync_api import Browser, Locator, Page, expect

WORKER = "worker-a"
OTHER = "Qwen/Qwen3-4B-Instruct-2507"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[ClusterUnderTest]:
    """A control plane, and a node that stands alone yet. Somebody has logged in to both."""
    with cluster_in(tmp_path_factory.mktemp("cluster"), [WORKER], {"cluster": {"labels": {"zone": "a"}}}) as cluster:
        for daemon in (cluster.control, cluster.workers[WORKER]):
            daemon.start()
            page, _ = watched_page(chromium, daemon.console_url)
            first_login(page, one_time_password(daemon.state_dir))
            page.context.close()
        yield cluster


@pytest.fixture
def joined(cluster: ClusterUnderTest) -> ClusterUnderTest:
    """The same, the worker joined; a deployment runs on it."""
    if WORKER not in cluster.nodes():
        cluster.join(WORKER)
    control = cluster.control
    if not control.deployments():
        call(control, "PUT", f"/targets/{SMALL}", {"replicas": 1, "node": WORKER})
    wait_until("it runs", lambda: [d for d in control.deployments() if d["state"] == "running"], 30, cluster.words)
    return cluster


@contextmanager
def console(chromium: Browser, daemon: DaemonUnderTest, at: str) -> Iterator[Page]:
    page, seen = watched_page(chromium, daemon.console_url)
    log_in(page, PASSWORD, at)
    settled(page)
    yield page
    seen.nothing()
    page.context.close()


def row_of(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has_text=name)


def choose(row: Locator, action: str) -> None:
    row.get_by_role("button", name="Actions for").click()
    row.get_by_role("button", name=action, exact=True).click()


def test_a_node_that_stands_alone_says_how_it_becomes_a_control_plane(
    chromium: Browser, cluster: ClusterUnderTest
) -> None:
    """Runs first: then it has not joined yet."""
    with console(chromium, cluster.workers[WORKER], "/cluster/nodes") as page:
        page.get_by_role("button", name="Add node").click()
        dialog = page.locator("mg-add-node")
        expect(dialog.get_by_text("worker-a stands alone")).to_be_visible()
        dialog.get_by_role("button", name="Copy the command that makes this node a control plane").click()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert (
            copied == f"modelgrid config set cluster.role control-plane --config {cluster.workers[WORKER].config_path}"
        )
        expect(dialog.get_by_role("link", name="Settings ▸ Cluster")).to_have_attribute("href", "/settings")
        assert violations(page) == []


def test_a_node_joins_by_the_copied_command_and_the_window_closes(chromium: Browser, cluster: ClusterUnderTest) -> None:
    worker = cluster.workers[WORKER]
    with console(chromium, cluster.control, "/cluster/nodes") as page:
        page.get_by_role("button", name="Add node").click()
        dialog = page.locator("mg-add-node")
        expect(dialog.get_by_text("Waiting for the node’s first heartbeat")).to_be_visible()
        expect(dialog.get_by_text("is this machine for itself")).to_be_visible()
        expect(dialog.get_by_text('"role": "worker"')).to_be_visible()
        assert violations(page) == []
        first = dialog.get_by_role("button", name="Copy the join command")
        first.click()
        old = page.evaluate("navigator.clipboard.readText()")
        dialog.get_by_role("button", name="Make a new one").click()
        expect(dialog.get_by_text(old, exact=True)).to_have_count(0)
        first.click()
        command = page.evaluate("navigator.clipboard.readText()")
        assert command != old

        program, *arguments = shlex.split(command)
        assert program == "modelgrid"
        environment = {**os.environ, "MODELGRID_STATE_DIR": str(worker.state_dir)}
        done = subprocess.run([MODELGRID, *arguments], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

        expect(dialog).to_have_count(0)
        expect(page.locator("mg-toasts")).to_contain_text("worker-a has joined with 2 ×")
        row = row_of(page, WORKER)
        expect(row.get_by_text("Ready", exact=True)).to_be_visible()
        expect(row.get_by_text("worker", exact=True)).to_be_visible()
        expect(row.get_by_text("zone=a")).to_be_visible()
        assert "add=" not in page.url
    assert call(worker, "GET", "/cluster")["control_plane"] == "control-a"


def test_a_worker_acts_on_none_of_many_and_says_who_does(chromium: Browser, joined: ClusterUnderTest) -> None:
    with console(chromium, joined.workers[WORKER], "/deployments/active") as page:
        page.get_by_label("Select all deployments").check()
        expect(page.get_by_text("1 selected")).to_be_visible()
        for verb in ("Start", "Stop", "Restart", "Remove…"):
            button = page.get_by_role("button", name=verb, exact=True)
            expect(button).to_be_disabled()
            expect(button).to_have_attribute("title", "control-a decides this: go to its console.")
        expect(page.get_by_text("control-a decides this: go to its console.")).to_be_visible()
        assert violations(page) == []


def test_the_worker_shows_what_is_its_own_and_leads_to_its_control_plane(
    chromium: Browser, joined: ClusterUnderTest
) -> None:
    with console(chromium, joined.workers[WORKER], "/cluster/placements") as page:
        expect(page.get_by_role("heading", name="Decided by control-a")).to_be_visible()
        there = page.get_by_role("link", name="Open control-a’s console")
        expect(page.get_by_role("link", name="of control-a")).to_have_attribute("href", joined.control.console_url)
        followed, _ = watched_page(chromium, there.get_attribute("href") or "")
        log_in(followed, PASSWORD, "/cluster/placements")
        expect(followed.get_by_role("columnheader", name="control-a")).to_be_visible()
        followed.context.close()
        page.get_by_role("link", name="Desired").click()
        expect(page.get_by_role("heading", name="Decided by control-a")).to_be_visible()
        assert violations(page) == []
        page.get_by_role("link", name="Nodes").click()
        row = row_of(page, WORKER)
        row.get_by_role("button", name="Actions for").click()
        drain = row.get_by_role("button", name="Drain…")
        expect(drain).to_be_disabled()
        expect(drain).to_contain_text("control-a decides this")
        page.keyboard.press("Escape")
        page.goto("/deployments/active")
        expect(page.get_by_role("link", name="qwen2-5-0-5b-instruct")).to_be_visible()
        page.goto(f"/models/catalog?q={OTHER}")
        expect(page.get_by_role("button", name=f"Deploy {OTHER}")).to_be_disabled()
    refused = ask(joined.workers[WORKER], "POST", f"/nodes/{WORKER}/drain")
    assert refused.status_code == 409, refused.text


def test_the_control_plane_sees_where_it_runs(chromium: Browser, joined: ClusterUnderTest) -> None:
    with console(chromium, joined.control, "/cluster/placements") as page:
        expect(page.get_by_role("columnheader", name="control-a")).to_be_visible()
        expect(page.get_by_role("columnheader", name=WORKER)).to_be_visible()
        expect(page.get_by_role("row").filter(has_text=SMALL).get_by_text("Running")).to_be_visible()
        page.goto("/gpus/devices")
        expect(page.get_by_role("region", name="GPUs of worker-a").get_by_role("article")).to_have_count(2)
        assert violations(page) == []


def test_the_log_of_another_node_is_read_from_its_row(chromium: Browser, joined: ClusterUnderTest) -> None:
    with console(chromium, joined.control, "/cluster/nodes") as page:
        row = row_of(page, WORKER)
        row.get_by_role("button", name="Actions for").click()
        row.get_by_role("link", name="Logs").click()
        expect(page).to_have_url(f"{joined.control.console_url}/logs?node={WORKER}")
        lines = page.get_by_role("region", name="Log", exact=True)
        expect(lines.get_by_text("deployment assigned").first).to_be_visible()
        expect(page.get_by_label("One deployment").get_by_role("option")).to_have_count(2)
        call(joined.workers[WORKER], "POST", "/catalog/refresh")
        expect(lines.get_by_text("action=refresh_catalog").first).to_be_visible()
        assert violations(page) == []
        page.get_by_label("Node", exact=True).select_option("control-a")
        expect(page).to_have_url(f"{joined.control.console_url}/logs")
        expect(lines.get_by_text("control starts").first).to_be_visible()
        expect(lines.get_by_text("action=refresh_catalog")).to_have_count(0)


def test_a_model_is_asked_for_on_nodes_with_labels(chromium: Browser, joined: ClusterUnderTest) -> None:
    with console(chromium, joined.control, f"/models/catalog?deploy={OTHER}") as page:
        dialog = page.locator("mg-deploy-dialog")
        dialog.get_by_text("Advanced: GPUs, which nodes").click()
        labels = dialog.get_by_label("Labels")
        labels.fill("zone")
        expect(dialog.get_by_text("“zone” is not name=value.")).to_be_visible()
        expect(dialog.get_by_role("button", name="Deploy", exact=True)).to_be_disabled()
        labels.fill("zone=b")
        expect(dialog.get_by_role("region", name="Where it would land")).to_contain_text("zone=b")
        labels.fill("zone=a")
        dialog.get_by_label("Pack").check()
        dialog.get_by_label("Exclusive").check()
        expect(dialog.get_by_role("region", name="Where it would land")).to_contain_text("placed on")
        assert violations(page) == []
        dialog.get_by_role("button", name="Deploy", exact=True).click()
        expect(dialog).to_have_count(0)
        page.goto("/cluster/desired")
        row = page.get_by_role("row").filter(has_text=OTHER)
        expect(row.get_by_text("zone=a, packed, exclusive")).to_be_visible()
    call(joined.control, "DELETE", f"/targets/{OTHER}")


def test_a_node_is_drained_and_removed_from_its_row(chromium: Browser, joined: ClusterUnderTest) -> None:
    """Runs last: the others need the node."""
    with console(chromium, joined.control, "/cluster/nodes") as page:
        row, asked = row_of(page, WORKER), page.locator("mg-confirm")
        choose(row, "Drain…")
        asked.get_by_role("textbox").fill(WORKER)
        asked.get_by_role("button", name="Drain").click()
        expect(row.get_by_text("Draining", exact=True)).to_be_visible()
        assert joined.nodes()[WORKER]["status"] == "draining"
        choose(row, "Activate")
        expect(row.get_by_text("Active", exact=True)).to_be_visible()
        choose(row, "Remove…")
        asked.get_by_role("textbox").fill(WORKER)
        asked.get_by_role("button", name="Remove", exact=True).click()
        expect(asked.get_by_text("worker-a still has 1 deployment.")).to_be_visible()
        asked.get_by_role("button", name="Cancel").click()
        expect(row.get_by_role("alert")).to_contain_text("still has 1 deployment")
        choose(row, "Remove…")
        asked.get_by_role("textbox").fill(WORKER)
        asked.get_by_role("button", name="Remove", exact=True).click()
        asked.get_by_role("textbox").fill(WORKER)
        asked.get_by_role("button", name="Remove by force").click()
        expect(page.locator("mg-toasts")).to_contain_text("worker-a has left the cluster.")
        expect(row).to_have_count(0)
    assert WORKER not in joined.nodes()
