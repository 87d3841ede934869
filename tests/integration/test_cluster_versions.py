"""Workers of other versions (row R31): one minor release apart joins, reports and serves, in both directions; further
apart is refused with what to upgrade. The version is all that differs: `sitecustomize` says another one."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_kit import ClusterUnderTest, ask, call, cluster_in
from daemon_under_test import SMALL, wait_until

from modelgrid import __version__

MAJOR, MINOR = (int(part) for part in __version__.split(".")[:2])
REPORTS = 5


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    with cluster_in(tmp_path_factory.mktemp("cluster"), ["worker-a"]) as made:
        made.start()
        yield made


@pytest.fixture
def other_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH, below which every process of a daemon takes its version from `SAID_VERSION`."""
    folder = tmp_path_factory.mktemp("version")
    (folder / "sitecustomize.py").write_text(
        "import os, modelgrid\nmodelgrid.__version__ = os.environ['SAID_VERSION']\n"
    )
    return folder


def test_a_worker_of_another_version(cluster: ClusterUnderTest, other_version: Path) -> None:
    worker, control = cluster.workers["worker-a"], cluster.control

    def start(version: str) -> None:
        if worker.runs:
            assert worker.stop() == 0
        worker.start(PYTHONPATH=str(other_version), SAID_VERSION=version)

    minor_before, minor_after = f"{MAJOR}.{max(MINOR - 1, 0)}.7", f"{MAJOR}.{MINOR + 1}.0"
    for version, advice in (
        (f"{MAJOR + 1}.0.0", "Upgrade the control plane"),
        (f"{MAJOR}.{MINOR + 2}.0", "Upgrade the control plane"),
    ):
        start(version)
        snippet = cluster.invite()
        refused = ask(worker, "POST", "/cluster/join", {"url": snippet["url"], "token": snippet["token"]})
        assert refused.status_code == 409, refused.text
        said = refused.json()["error"]
        print(f"\n{version} against {__version__}: {said['message']}")
        assert advice in f"{said['message']} {said['fix']}"

    start(minor_before)
    cluster.join("worker-a")
    call(control, "PUT", f"/targets/{SMALL}", {"replicas": 1, "node": "worker-a"})
    (running,) = control.wait_for({"running": 1}, target=SMALL)
    engines = worker.engine_pids()
    for version in (minor_before, minor_after):
        start(version)
        cluster.wait_liveness("worker-a", "ready")
        node = wait_until(
            f"its version {version} is shown",
            lambda said=version: (n := cluster.nodes()["worker-a"])["version"] == said and n,
            said=cluster.words,
        )
        first, heard = node["heartbeat_at"], 0
        end = time.monotonic() + 30
        while heard < REPORTS and time.monotonic() < end:
            time.sleep(0.3)
            now = cluster.nodes()["worker-a"]["heartbeat_at"]
            heard, first = heard + (now > first), now
        note = cluster.nodes()["worker-a"]["note"]
        print(f"{version} against {__version__}: {heard} further reports taken, running on; note: {note!r}")
        assert heard == REPORTS
        assert "one minor version apart" in note
        assert [item["id"] for item in control.wait_for({"running": 1}, target=SMALL)] == [running["id"]]
        assert worker.engine_pids() == engines, "an upgrade starts no engine anew"
    start(f"{MAJOR + 1}.0.0")
    wait_until(
        "its reports are refused", lambda: cluster.nodes()["worker-a"]["liveness"] != "ready", said=cluster.words
    )
    assert worker.engine_pids() == engines, "what it runs, it runs on"
    start(__version__)
    cluster.wait_liveness("worker-a", "ready")
    assert cluster.nodes()["worker-a"]["note"] == ""
