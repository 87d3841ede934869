"""A worker is drained while 50 streams run on it (row R13): they end as they would have, and nobody waits."""

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from cluster_kit import call
from daemon_under_test import MESSAGES, SMALL, wait_until
from netns_kit import CONTROL, NetworkedCluster, Watch, networked_cluster

pytestmark = pytest.mark.skipif(
    os.environ.get("MODELGRID_NIGHTLY") != "1", reason="takes a minute; MODELGRID_NIGHTLY=1"
)
STREAMS, TOKENS = 50, 60
ENGINES = f"--sim-load-seconds 1 --sim-ttft 0.05 --sim-itl 0.4 --sim-output-tokens {TOKENS}"
"""A stream lasts 24 s: longer than the replacement takes."""


@dataclass
class Stream:
    status: int = 0
    pieces: int = 0
    whole: bool = False
    error: str = ""
    began: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NetworkedCluster]:
    with networked_cluster(tmp_path, engines=ENGINES) as made:
        made.start_all()
        yield made


def read(cluster: NetworkedCluster, key: str, stream: Stream) -> None:
    """Read one stream to its end, through the control plane's gateway."""
    url, headers = f"{cluster.control.api_url}/v1/chat/completions", {"Authorization": f"Bearer {key}"}
    body = {"model": SMALL, "messages": MESSAGES, "stream": True, "max_tokens": TOKENS}
    last = ""
    try:
        with httpx.stream("POST", url, headers=headers, json=body, timeout=120, trust_env=False) as answer:
            stream.status = answer.status_code
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    last = line.removeprefix("data: ")
                    stream.pieces += last.startswith("{") and bool(json.loads(last).get("choices"))
                    stream.began.set()
    except httpx.HTTPError as error:
        stream.error = f"{type(error).__name__}: {error}"
    stream.whole = last == "[DONE]" and not stream.error


def served_by(cluster: NetworkedCluster, node: str, deployment: str) -> int:
    """Return how many requests an engine has answered, as it says itself."""
    url = next(record["url"] for record in cluster.daemons[node].engine_records() if record["deployment"] == deployment)
    text = cluster.network.run(node, lambda: httpx.get(f"{url}/metrics", timeout=10, trust_env=False).text)
    lines = [line for line in text.splitlines() if line.startswith("vllm:request_success_total")]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


def test_streams_outlive_the_drain_of_their_node(cluster: NetworkedCluster) -> None:
    control = cluster.control
    old = cluster.place(SMALL, "worker-a")
    call(control, "POST", f"/nodes/{CONTROL}/cordon")
    key = control.key
    control.wait_routed(SMALL)
    streams = [Stream() for _ in range(STREAMS)]
    with Watch(cluster) as watch, ThreadPoolExecutor(STREAMS) as pool:
        done = [pool.submit(read, cluster, key, stream) for stream in streams]
        assert all(stream.began.wait(30) for stream in streams), [stream.error for stream in streams]
        start = time.monotonic()
        call(control, "POST", "/nodes/worker-a/drain")

        def replacement() -> str:
            found = [item for item in control.deployments(SMALL) if item["node"] == "worker-b"]
            return found[0]["id"] if found and found[0]["state"] == "running" else ""

        new = wait_until("a replacement serves", replacement, 30, cluster.words)
        ready = time.monotonic() - start
        assert not watch.gone(watch.of(old["id"])), "the old one runs until the new one is ready"
        wait_until(
            "the old one takes nothing new",
            lambda: [item["state"] for item in control.deployments(SMALL) if item["id"] == old["id"]] != ["running"],
            said=cluster.words,
        )
        time.sleep(0.5)  # the routing table reaches every gateway within that
        living = sum(not each.done() for each in done)
        newer = [Stream() for _ in range(10)]
        served = served_by(cluster, "worker-b", new)
        newer_done = [pool.submit(read, cluster, key, stream) for stream in newer]
        for each in (*done, *newer_done):
            each.result()
        served = served_by(cluster, "worker-b", new) - served
        wait_until("the old one is gone", lambda: watch.gone(watch.of(old["id"])), 30, cluster.words)
        ended = watch.of(old["id"]).last - start
        wait_until("one is left", lambda: [d["id"] for d in control.deployments(SMALL)] == [new], 30, cluster.words)
        assert not watch.overcommitted
    broken = [stream for stream in streams if not stream.whole]
    print(
        f"\nR13: {STREAMS} streams of {TOKENS} tokens: {len(broken)} broken; another ready after {ready:.1f} s, with"
        f" {living} streams still running; old engine gone after {ended:.1f} s; new requests to it:"
        f" {len(newer) - served} of {len(newer)}"
    )
    assert not broken
    assert {stream.pieces for stream in streams} == {max(stream.pieces for stream in streams)}
    assert living > 0, "streams were running when the old one was told to go"
    assert served == len(newer), "the new one served them all"
    assert all(stream.whole for stream in newer)
