"""A worker that is cut off, wholly or one way (rows R6 and R7), over a real network.

Heartbeats come every second: suspect after 3 s, lost after 8, exclusive engines stopped after 5. At the default of five
seconds that is 15 s, 40 s and 25 s; the looks of the control plane, a second apart, stay as they are."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from cluster_kit import call
from daemon_under_test import MESSAGES, SMALL, DaemonUnderTest, wait_until
from netns_kit import CONTROL, NetworkedCluster, Watch, networked_cluster

ONCE = "Qwen/Qwen2.5-1.5B-Instruct"
SMALL_SLUG, ONCE_SLUG = "qwen2-5-0-5b", "qwen2-5-1-5b"
SUSPECT_WITHIN, LOST_WITHIN, ONE_WINNER_WITHIN = 6.0, 11.0, 15.0
"""Seconds. 3 and 8, and up to one for the heartbeat that was not sent yet and one for the look; the rest is for a
machine that does other things."""
ENGINES = "--sim-load-seconds 0.1 --sim-ttft 0.01 --sim-itl 0.5 --shutdown-timeout 60"
"""An engine that is told to end first ends its streams, for as long as it is let."""
nightly = pytest.mark.skipif(os.environ.get("MODELGRID_NIGHTLY") != "1", reason="takes a minute; MODELGRID_NIGHTLY=1")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NetworkedCluster]:
    with networked_cluster(tmp_path, engines=ENGINES) as made:
        made.start_all()
        call(made.control, "POST", f"/nodes/{CONTROL}/cordon")
        yield made


def cut_by_cable(cluster: NetworkedCluster) -> None:
    cluster.network.cut("worker-a")


def cut_on_the_way_in(cluster: NetworkedCluster) -> None:
    """The worker hears and is not heard."""
    cluster.network.drop(at=CONTROL, source="worker-a")


def cut_on_the_way_out(cluster: NetworkedCluster) -> None:
    """The worker is heard, as far as that is possible for one that hears nothing."""
    cluster.network.drop(at="worker-a", source=CONTROL)


def heal(cluster: NetworkedCluster) -> None:
    cluster.network.heal("worker-a")
    cluster.network.accept(CONTROL)
    cluster.network.accept("worker-a")


@pytest.mark.parametrize(
    "cut",
    [cut_by_cable, pytest.param(cut_on_the_way_in, marks=nightly), pytest.param(cut_on_the_way_out, marks=nightly)],
)
def test_a_worker_that_is_cut_off(cluster: NetworkedCluster, cut: Callable[[NetworkedCluster], None]) -> None:
    control, worker = cluster.control, cluster.workers["worker-a"]
    shared = cluster.place(SMALL, "worker-a")
    once = cluster.place(ONCE, "worker-a", exclusive=True)
    call(control, "POST", f"/nodes/{CONTROL}/cordon")
    key, before = control.key, cluster.last_event()

    def serves() -> bool:
        headers, body = {"Authorization": f"Bearer {key}"}, {"model": SMALL, "prompt": "1", "max_tokens": 1}
        url = f"{worker.api_url}/v1/completions"
        return httpx.post(url, headers=headers, json=body, timeout=20, trust_env=False).status_code == 200

    wait_until("the worker serves by itself", serves, said=cluster.words)
    with Watch(cluster) as watch, busy(worker, key, ONCE):
        wait_until("both engines are seen", lambda: len(watch.now()) == 2)
        start = time.monotonic()
        cut(cluster)
        cluster.wait_liveness("worker-a", "suspect")
        suspect = time.monotonic() - start
        cluster.wait_liveness("worker-a", "lost")
        lost = time.monotonic() - start
        fenced = watch.of(once["id"])
        assert watch.gone(fenced), "it ends before anybody may replace it"
        stopped = fenced.last - start
        assert watch.of(shared["id"]).last > fenced.last
        assert serves(), "what harms nobody goes on"
        wait_until("both run elsewhere", lambda: len(running(cluster, "worker-b")) == 2, 30, cluster.words)
        replaced = time.monotonic() - start
        newcomer = next(seen for seen in watch.now(ONCE_SLUG))
        assert (newcomer.node, newcomer.first > fenced.last) == ("worker-b", True)
        assert serves()
        assert [seen.node for seen in watch.now(SMALL_SLUG)].count("worker-a") == 1
        begun = time.monotonic()
        heal(cluster)
        cluster.wait_liveness("worker-a", "ready")

        def one_each() -> bool:
            models = sorted(item["model"] for item in control.deployments() if item["state"] == "running")
            everything = [item["state"] for item in control.deployments()]
            return models == sorted((SMALL, ONCE)) and everything == ["running"] * 2 and len(watch.now()) == 2

        wait_until("one winner each", one_each, ONE_WINNER_WITHIN, cluster.words)
        healed = time.monotonic() - begun
        time.sleep(3)
        assert one_each(), "and it stays so"
        assert not watch.overcommitted
        assert watch.at_once(ONCE_SLUG) == 1
        changes = cluster.liveness_events("worker-a", after=before)
    print(
        f"\n{cut.__name__}: suspect after {suspect:.1f} s, exclusive stopped after {stopped:.1f} s, lost after"
        f" {lost:.1f} s, both replaced after {replaced:.1f} s; one winner {healed:.1f} s after it healed;"
        f" {watch.looks} looks, 0 GPUs over-committed, never two of the exclusive one; changes: {changes}"
    )
    assert changes == ["suspect", "lost", "ready"]
    assert stopped < lost
    assert suspect < SUSPECT_WITHIN
    assert lost < LOST_WITHIN


@contextlib.contextmanager
def busy(daemon: DaemonUnderTest, key: str, model: str) -> Iterator[None]:
    """Keep a stream of a minute open at a node's own gateway, as long as it goes."""
    began = threading.Event()

    def read() -> None:
        url, headers = f"{daemon.api_url}/v1/chat/completions", {"Authorization": f"Bearer {key}"}
        body = {"model": model, "messages": MESSAGES, "stream": True, "max_tokens": 120}
        with (
            contextlib.suppress(httpx.HTTPError),  # it is cut off with its engine
            httpx.stream("POST", url, headers=headers, json=body, timeout=90, trust_env=False) as answer,
        ):
            for _ in answer.iter_lines():
                began.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert began.wait(30)
    yield
    thread.join()


def running(cluster: NetworkedCluster, node: str) -> list[str]:
    found = cluster.control.deployments()
    return sorted(item["model"] for item in found if item["node"] == node and item["state"] == "running")
