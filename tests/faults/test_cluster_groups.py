"""Row R30, as far as it applies: an engine runs on one node, over several of its GPUs, and is one group. When it dies,
it is started again whole, on as many GPUs, and nobody else gets one of them meanwhile."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_kit import ClusterUnderTest, call, cluster_in
from daemon_under_test import SMALL, wait_until

WHOLE_SECONDS = 60.0
DEATHS = 3


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterUnderTest]:
    with cluster_in(tmp_path, ["worker-a"]) as made:
        made.start()
        made.join("worker-a")
        yield made


def claimed(cluster: ClusterUnderTest) -> dict[str, list[str]]:
    """Return who is placed on which GPU of the worker, as the control plane says."""
    gpus = call(cluster.control, "GET", "/gpus")["items"]
    return {gpu["gpu"]["id"]: gpu["deployments"] for gpu in gpus if gpu["node"] == "worker-a"}


def test_an_engine_over_two_gpus_is_whole_or_not_there(cluster: ClusterUnderTest) -> None:
    control, worker = cluster.control, cluster.workers["worker-a"]
    call(control, "PUT", f"/targets/{SMALL}", {"replicas": 1, "node": "worker-a", "gpu_count": 2})
    (running,) = control.wait_for({"running": 1}, target=SMALL)
    assert claimed(cluster) == {"nvidia-0": [running["id"]], "nvidia-1": [running["id"]]}
    longest = 0.0
    for attempt in range(2, 2 + DEATHS):
        (pid,) = worker.engine_pids().values()
        os.kill(pid, signal.SIGKILL)
        died = time.monotonic()

        def again(attempt: int = attempt) -> list[dict[str, Any]]:
            assert set(map(tuple, claimed(cluster).values())) == {(running["id"],)}, "its GPUs stay its own, both"
            assert len(worker.engine_pids()) <= 1
            return [d for d in control.deployments(SMALL) if d["state"] == "running" and d["attempt"] == attempt]

        wait_until("it runs again, whole", again, WHOLE_SECONDS, cluster.words)
        longest = max(longest, time.monotonic() - died)
        (record,) = worker.engine_records()
        arguments = Path(f"/proc/{record['pid']}/cmdline").read_text().split("\0")
        assert arguments[arguments.index("--tensor-parallel-size") + 1] == "2"
        assert arguments[arguments.index("--sim-gpu-ids") + 1] == "nvidia-0,nvidia-1"
    print(f"\n{DEATHS} deaths of an engine over 2 GPUs: whole again after {longest:.1f} s at most")
    call(control, "DELETE", f"/targets/{SMALL}")
    wait_until("both GPUs are free", lambda: not any(claimed(cluster).values()), said=cluster.words)
