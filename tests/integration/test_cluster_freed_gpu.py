"""What was freed on a worker's GPU is given at once to whoever waits for it, and not with the next heartbeat."""

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest
from cluster_kit import ClusterUnderTest, call, cluster_in
from daemon_under_test import wait_until

from modelgrid.domain.units import GIB
from modelgrid.services.gpu_inventory import INTERVAL_SECONDS
from modelgrid.simulator.gpu_state import write_foreign

HEARTBEAT_SECONDS = 8
CONFIG = {
    "gpus": {"simulate": [{"name": "NVIDIA L4", "vramGib": 22.5}]},
    "cluster": {"heartbeatInterval": HEARTBEAT_SECONDS},
}
LARGE = ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-Coder-7B-Instruct")
"""Each takes most of that GPU."""
ROUNDS = 3
WITHIN_SECONDS = 1.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    with cluster_in(tmp_path_factory.mktemp("cluster"), ["worker-a"], CONFIG) as made:
        made.start()
        made.join("worker-a")
        yield made


def wish(cluster: ClusterUnderTest, model: str) -> None:
    call(cluster.control, "PUT", f"/targets/{model}", {"replicas": 1, "node": "worker-a"})


def wait_told(cluster: ClusterUnderTest, *, held: bool) -> None:
    """Return when the control plane has heard whether the worker's GPU is held: with the next heartbeat."""

    def told() -> bool:
        gpus = call(cluster.control, "GET", "/gpus")["items"]
        (gpu,) = [gpu for gpu in gpus if gpu["node"] == "worker-a"]
        return (gpu["gpu"]["vram_used_bytes"] > 10 * GIB) is held

    wait_until("the control plane has heard of the worker's GPU", told, said=cluster.words)


def happened(cluster: ClusterUnderTest, deployment: str, kind: str) -> list[float]:
    """Return when, by the daemon that did it."""
    events: list[dict[str, Any]] = call(cluster.control, "GET", "/timeline?subject=deployment&limit=200")["items"]
    return [event["at"] for event in events if (event["subject_id"], event["kind"]) == (deployment, kind)]


def test_a_gpu_whose_engine_has_gone_is_used_within_a_second(cluster: ClusterUnderTest) -> None:
    control, (held, waiting), taken = cluster.control, LARGE, list[float]()
    wish(cluster, held)
    for _ in range(ROUNDS):
        (running,) = control.wait_for({"running": 1}, target=held, seconds=60)
        wait_told(cluster, held=True)
        wish(cluster, waiting)
        (placed,) = control.wait_for({"pending": 1}, target=waiting)
        call(control, "DELETE", f"/targets/{held}")
        control.wait_for({"running": 1}, seconds=60)

        def gone(one: str = running["id"]) -> list[float]:
            return happened(cluster, one, "stopped")

        (gone_at,) = wait_until("it was told when the engine was gone", gone, said=cluster.words)
        taken.append(happened(cluster, placed["id"], "scheduled")[0] - gone_at)
        held, waiting = waiting, held
    call(control, "DELETE", f"/targets/{held}")
    wait_until("it is empty", lambda: not control.deployments(), said=cluster.words)
    print(f"\nplaced {', '.join(f'{1000 * each:.0f}' for each in taken)} ms after the engine was gone")
    assert median(taken) <= WITHIN_SECONDS


def test_what_somebody_else_frees_is_used_with_the_next_reading(cluster: ClusterUnderTest) -> None:
    control, worker = cluster.control, cluster.workers["worker-a"]
    wait_told(cluster, held=False)
    held = write_foreign(worker.state_dir / "simulated" / "gpus", "notebook", {"nvidia-0": 20 * GIB})
    wait_told(cluster, held=True)
    wish(cluster, LARGE[0])
    (waiting,) = control.wait_for({"pending": 1})
    freed_at = time.time()
    held.unlink()
    control.wait_for({"running": 1}, seconds=60)
    took = happened(cluster, waiting["id"], "scheduled")[0] - freed_at
    print(f"\nplaced {1000 * took:.0f} ms after the memory was freed")
    assert took <= INTERVAL_SECONDS + HEARTBEAT_SECONDS / 4
