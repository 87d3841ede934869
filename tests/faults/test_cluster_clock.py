"""A worker whose clock is an hour off (row R22): it is not taken in; one that joined before gets nothing new, and what
runs there runs on. Nothing expires by that."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_kit import ClusterUnderTest, ask, call, cluster_in
from daemon_under_test import SMALL, wait_until
from test_clock_jumps import HOUR, WallClock

LOST_SECONDS = 10.0
"""Longer than a node may be silent at a heartbeat a second."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterUnderTest]:
    with cluster_in(tmp_path, ["worker-a"]) as made:
        made.start()
        yield made


def test_a_worker_whose_clock_is_an_hour_off(
    cluster: ClusterUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    control, worker = cluster.control, cluster.workers["worker-a"]
    clock = WallClock(tmp_path_factory.mktemp("clock"))
    clock.shift(HOUR)
    worker.start(**clock.environment)
    for shift, said in ((HOUR, "ahead of"), (-HOUR, "behind")):
        clock.shift(shift)
        snippet = cluster.invite()
        refused = ask(worker, "POST", "/cluster/join", {"url": snippet["url"], "token": snippet["token"]})
        assert refused.status_code == 409, refused.text
        error = refused.json()["error"]
        assert f"{said} the control plane's" in error["message"]
        assert "timedatectl" in error["fix"]
    clock.shift(0)
    cluster.join("worker-a")
    call(control, "POST", "/nodes/control-a/cordon")
    call(control, "PUT", f"/targets/{SMALL}", {"replicas": 1})
    (running,) = control.wait_for({"running": 1}, target=SMALL)
    assert running["node"] == "worker-a"
    engines = worker.engine_pids()

    clock.shift(HOUR)
    wait_until("its clock is noticed", lambda: cluster.nodes()["worker-a"]["problem"], said=cluster.words)
    call(control, "PUT", f"/targets/{SMALL}", {"replicas": 2})
    time.sleep(LOST_SECONDS)
    node = cluster.nodes()["worker-a"]
    assert node["liveness"] == "ready"
    assert "ahead of the control plane's" in node["problem"]
    found = {item["id"]: item for item in control.deployments(SMALL)}
    assert found.pop(running["id"])["state"] == "running"
    (waiting,) = found.values()
    assert waiting["state"] == "pending"
    print(f"\nthe second replica waits: {waiting['reason']!r}; the node: {node['problem']!r}")
    assert worker.engine_pids() == engines

    clock.shift(0)
    start = time.monotonic()
    control.wait_for({"running": 2}, target=SMALL)
    print(f"R22: running {time.monotonic() - start:.1f} s after the clock was set")
    assert worker.engine_pids()[running["id"]] == engines[running["id"]]
    kinds = [item["kind"] for item in call(control, "GET", "/timeline?subject=node&limit=200")["items"]]
    assert "node_lost" not in kinds
