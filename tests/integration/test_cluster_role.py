"""A node becomes a control plane and keeps what runs there, and stays one while others rely on it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_kit import ClusterUnderTest, ask, call, cluster_in
from daemon_under_test import SMALL, DaemonUnderTest, daemon_in, wait_until
from tests.ports import free_ports


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    with cluster_in(tmp_path_factory.mktemp("cluster"), ["worker-a"]) as made:
        made.start()
        made.join("worker-a")
        yield made


def set_role(daemon: DaemonUnderTest, role: str) -> None:
    """Change config.json as an editor does."""
    config = json.loads(daemon.config_path.read_text())
    config["cluster"]["role"] = role
    daemon.config_path.write_text(json.dumps(config))


def history(daemon: DaemonUnderTest) -> list[dict[str, Any]]:
    return list(call(daemon, "GET", "/history")["items"])


def test_a_control_plane_with_workers_stays_one_and_leaves_nothing_behind(cluster: ClusterUnderTest) -> None:
    control, worker = cluster.control, cluster.workers["worker-a"]
    call(control, "PUT", f"/targets/{SMALL}", {"replicas": 1, "node": "worker-a"})
    (deployment,) = control.wait_for({"running": 1}, target=SMALL)

    for role in ("standalone", "worker"):
        refused = ask(control, "PATCH", "/config", {"cluster": {"role": role}})
        error = refused.json()["error"]
        assert (refused.status_code, error["details"]["nodes"]) == (409, ["worker-a"]), refused.text
        assert "cluster drain" in error["fix"]
        assert "cluster remove" in error["fix"]
    assert json.loads(control.config_path.read_text())["cluster"]["role"] == "control-plane"

    set_role(control, "standalone")
    refused = ask(control, "POST", "/daemon/restart")
    assert (refused.status_code, refused.json()["error"]["details"]["nodes"]) == (409, ["worker-a"]), refused.text

    engines = worker.engine_pids()
    control.restart()
    assert call(control, "GET", "/cluster")["role"] == "standalone"
    assert deployment["id"] not in [item["id"] for item in control.deployments()]
    (record,) = history(control)
    assert (record["id"], "worker-a is no node of this cluster" in record["reason"]) == (deployment["id"], True)
    assert worker.engine_pids() == engines
    call(control, "DELETE", f"/targets/{SMALL}")
    wait_until("nothing is left", lambda: not control.deployments(), said=control.words)

    set_role(control, "control-plane")
    control.restart()
    cluster.wait_liveness("worker-a", "ready")
    wait_until("the worker ends what nobody wants", lambda: not worker.engine_pids(), said=cluster.words)
    call(control, "DELETE", "/nodes/worker-a")
    call(control, "PATCH", "/config", {"cluster": {"role": "standalone"}})


def test_a_node_that_becomes_a_control_plane_keeps_what_runs_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    port, peer_port = free_ports(2)
    ports = {"cluster": {"port": port, "peerPort": peer_port}}
    with daemon_in(tmp_path_factory.mktemp("daemon"), ports) as daemon:
        daemon.start()
        (before,) = daemon.run()
        engines, pid = daemon.engine_pids(), daemon.control_pid
        call(daemon, "PATCH", "/config", {"cluster": {"role": "control-plane"}})
        call(daemon, "POST", "/daemon/restart")
        daemon.wait_new_control(pid)
        assert call(daemon, "GET", "/cluster")["role"] == "control-plane"
        (after,) = daemon.wait_for({"running": 1})
        assert (after["id"], after["attempt"]) == (before["id"], 1)
        assert daemon.engine_pids() == engines
        daemon.wait_routed(SMALL)
