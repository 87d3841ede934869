"""Workers of other versions (row R31): one minor release apart joins, reports and serves, in both directions; further
apart is refused with what to upgrade. The version is all that differs: `sitecustomize` says another one."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_kit import ClusterUnderTest, ask, call, cluster_in
from daemon_under_test import MODELGRID, SMALL, DaemonUnderTest, wait_until

from modelgrid import __version__

MAJOR, MINOR = (int(part) for part in __version__.split(".")[:2])
MINOR_BEFORE, MINOR_AFTER, MAJOR_AFTER = f"{MAJOR}.{max(MINOR - 1, 0)}.7", f"{MAJOR}.{MINOR + 1}.0", f"{MAJOR + 1}.0.0"
REPORTS = 5


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    with cluster_in(tmp_path_factory.mktemp("cluster"), ["worker-a", "worker-b"]) as made:
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


def start(worker: DaemonUnderTest, other_version: Path, version: str) -> None:
    if worker.runs:
        assert worker.stop() == 0
    worker.start(PYTHONPATH=str(other_version), SAID_VERSION=version)


@pytest.mark.parametrize("version", [MAJOR_AFTER, f"{MAJOR}.{MINOR + 2}.0"])
def test_a_worker_too_far_apart_is_refused_and_told_what_to_do(
    cluster: ClusterUnderTest, other_version: Path, version: str
) -> None:
    worker = cluster.workers["worker-a"]
    start(worker, other_version, version)
    snippet = cluster.invite()
    refused = ask(worker, "POST", "/cluster/join", {"url": snippet["url"], "token": snippet["token"]})
    assert refused.status_code == 409, refused.text
    said = refused.json()["error"]
    print(f"\n{version} against {__version__}: {said['message']}")
    assert "Upgrade the control plane" in f"{said['message']} {said['fix']}"


def test_a_worker_one_minor_version_newer_joins_and_gets_its_share(
    cluster: ClusterUnderTest, other_version: Path
) -> None:
    worker, control = cluster.workers["worker-b"], cluster.control
    start(worker, other_version, MINOR_AFTER)
    cluster.join("worker-b")
    call(control, "PUT", f"/targets/{SMALL}", {"replicas": 1, "node": "worker-b"})
    (running,) = control.wait_for({"running": 1}, target=SMALL)
    assert list(worker.engine_pids()) == [running["id"]]
    environment = {**os.environ, "MODELGRID_STATE_DIR": str(control.state_dir), "COLUMNS": "200"}
    command = [MODELGRID, "cluster", "nodes"]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    print(f"\n{listed}")
    assert MINOR_AFTER in listed
    assert "one minor version apart" in listed
    call(control, "DELETE", f"/targets/{SMALL}")
    wait_until("it is gone", lambda: not control.deployments() and not worker.engine_pids(), said=cluster.words)


def test_a_worker_is_upgraded_while_its_engines_run(cluster: ClusterUnderTest, other_version: Path) -> None:
    worker, control = cluster.workers["worker-a"], cluster.control
    start(worker, other_version, MINOR_BEFORE)
    cluster.join("worker-a")
    call(control, "PUT", f"/targets/{SMALL}", {"replicas": 1, "node": "worker-a"})
    (running,) = control.wait_for({"running": 1}, target=SMALL)
    engines = worker.engine_pids()
    for version in (MINOR_BEFORE, MINOR_AFTER):
        start(worker, other_version, version)
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
    start(worker, other_version, MAJOR_AFTER)
    cluster.wait_liveness("worker-a", "suspect")
    said = cluster.nodes()["worker-a"]["problem"]
    print(f"{MAJOR_AFTER} against {__version__}: suspect; {said}")
    assert "different major versions do not work together. Upgrade the control plane." in said
    assert worker.engine_pids() == engines, "what it runs, it runs on"
    start(worker, other_version, __version__)
    cluster.wait_liveness("worker-a", "ready")
    assert (cluster.nodes()["worker-a"]["note"], cluster.nodes()["worker-a"]["problem"]) == ("", "")
