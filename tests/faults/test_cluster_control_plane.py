"""A control plane that dies, stops for a while or stands still (rows R4, R8 and R9): nobody pays for that.

Heartbeats come every second, so a node is lost after 8 s of silence; every pause here is longer."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cluster_kit import call
from daemon_under_test import SMALL, wait_until
from netns_kit import CONTROL, NetworkedCluster, Watch, networked_cluster

pytestmark = pytest.mark.skipif(os.environ.get("MODELGRID_NIGHTLY") != "1", reason="takes minutes; MODELGRID_NIGHTLY=1")
ONCE = "Qwen/Qwen2.5-1.5B-Instruct"
AWAY_SECONDS = 12.0
AFTERWARDS_SECONDS = 12.0
"""For whatever the pause might have set off."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NetworkedCluster]:
    with networked_cluster(tmp_path) as made:
        made.start_all()
        yield made


def spread(cluster: NetworkedCluster) -> dict[str, int]:
    """Run five replicas, on all three nodes; return their engines."""
    call(cluster.control, "PUT", f"/targets/{SMALL}", {"replicas": 5})
    found = cluster.control.wait_for({"running": 5}, target=SMALL)
    assert {item["node"] for item in found} == {CONTROL, "worker-a", "worker-b"}
    return engines(cluster)


def engines(cluster: NetworkedCluster) -> dict[str, int]:
    return {item: pid for daemon in cluster.daemons.values() for item, pid in daemon.engine_pids().items()}


def everything_of(cluster: NetworkedCluster) -> list[psutil.Process]:
    """Return the processes of the control plane's daemon, its engines excepted."""
    supervisor = psutil.Process(cluster.control.supervisor_pid)
    return [supervisor, *supervisor.children()]


def settled(cluster: NetworkedCluster, before: dict[str, int], watch: Watch, after: int) -> None:
    """All is as it was, and stays so."""
    for name in cluster.workers:
        cluster.wait_liveness(name, "ready")
    cluster.control.wait_for({"running": len(before)})
    time.sleep(AFTERWARDS_SECONDS)
    assert engines(cluster) == before, "no engine was started, stopped or doubled"
    assert {item["id"] for item in cluster.control.deployments()} == set(before)
    assert {item["attempt"] for item in cluster.control.deployments()} == {1}
    assert not watch.overcommitted
    assert {seen.deployment for seen in watch.engines.values()} == set(before)
    for name in cluster.workers:
        assert "lost" not in cluster.liveness_events(name, after), name


def test_it_is_killed_with_five_replicas_up(cluster: NetworkedCluster) -> None:
    before, after = spread(cluster), cluster.last_event()
    with Watch(cluster) as watch:
        for process in everything_of(cluster):
            process.kill()
        cluster.control.wait_exit()
        assert engines(cluster) == before
        start = time.monotonic()
        cluster.control.start()
        cluster.control.wait_for({"running": 5})
        adopted = time.monotonic() - start
        settled(cluster, before, watch, after)
    print(f"\nkill -9 of the control plane: 5 of 5 adopted {adopted:.1f} s after its start; 0 restarted, 0 duplicates")
    assert adopted < 10


def test_it_is_stopped_and_started_again(cluster: NetworkedCluster) -> None:
    spread(cluster)
    call(cluster.control, "PUT", f"/targets/{ONCE}", {"replicas": 1, "exclusive": True, "node": "worker-a"})
    cluster.control.wait_for({"running": 1}, target=ONCE)
    before, after = engines(cluster), cluster.last_event()
    with Watch(cluster) as watch:
        assert cluster.control.stop() == 0
        time.sleep(AWAY_SECONDS)
        assert engines(cluster) == before, "also the exclusive one: nobody is there to give it away"
        cluster.control.start()
        settled(cluster, before, watch, after)
    print(f"\nstopped for {AWAY_SECONDS:.0f} s: {len(before)} engines, 0 restarted, 0 nodes lost")


def test_it_stands_still(cluster: NetworkedCluster) -> None:
    before, after = spread(cluster), cluster.last_event()
    with Watch(cluster) as watch:
        stopped = everything_of(cluster)
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        time.sleep(AWAY_SECONDS)
        for process in reversed(stopped):
            process.send_signal(signal.SIGCONT)
        wait_until("it answers again", cluster.control.answers, said=cluster.words)
        settled(cluster, before, watch, after)
        changes = {name: cluster.liveness_events(name, after) for name in cluster.workers}
    print(f"\nstood still for {AWAY_SECONDS:.0f} s: {len(before)} engines, 0 restarted, 0 nodes lost; {changes}")
