"""Several daemons under one control plane: they join, get their share, and answer for each other."""

import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cluster_kit import ClusterUnderTest, ask, call, cluster_in
from daemon_under_test import MODELGRID, SMALL, wait_until

CHANGES = 10
SPREAD_SECONDS = 0.5


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    with cluster_in(tmp_path_factory.mktemp("cluster")) as made:
        made.start()
        made.join("worker-a")
        made.join("worker-b")
        yield made


def test_nodes_that_joined_are_seen_with_what_they_have(cluster: ClusterUnderTest) -> None:
    nodes = cluster.nodes()
    assert list(nodes) == ["control-a", "worker-a", "worker-b"]
    assert {name: node["role"] for name, node in nodes.items()} == {
        "control-a": "control-plane",
        "worker-a": "worker",
        "worker-b": "worker",
    }
    assert all(node["liveness"] == "ready" and node["gpus"] == 2 for node in nodes.values())
    gpus = call(cluster.control, "GET", "/gpus")["items"]
    assert {gpu["node"] for gpu in gpus} == set(nodes)


def test_a_model_is_placed_on_a_worker_runs_there_and_is_removed(cluster: ClusterUnderTest) -> None:
    control, worker = cluster.control, cluster.workers["worker-a"]
    call(control, "PUT", f"/targets/{SMALL}", {"replicas": 1, "node": "worker-a"})
    (deployment,) = control.wait_for({"running": 1}, target=SMALL)
    assert deployment["node"] == "worker-a"
    assert list(worker.engine_pids()) == [deployment["id"]]
    assert not control.engine_pids()
    kinds = [event["kind"] for event in call(control, "GET", f"/deployments/{deployment['id']}/events")["items"]]
    wait_until(
        "the timeline is whole",
        lambda: {"created", "scheduled", "pulling", "started", "ready"} <= set(control.event_kinds(deployment["id"])),
        said=lambda: str(kinds),
    )
    lines = call(control, "GET", f"/deployments/{deployment['id']}/logs?tail=20")["items"]
    assert any("vLLM" in line["text"] for line in lines)
    of_it = ask(control, "GET", f"/logs?source=deployment:{deployment['id']}")
    assert of_it.headers["X-ModelGrid-Node"] == "worker-a"
    texts, messages = [line["text"] for line in lines], [line["message"] for line in of_it.json()["items"]]
    begin = messages.index(texts[0])
    assert messages[begin : begin + len(texts)] == texts, "more may have been said meanwhile"
    assert "X-ModelGrid-Node" not in ask(control, "GET", "/logs?source=daemon").headers
    speakers = call(control, "GET", "/logs/sources")["items"]
    assert {"source": f"deployment:{deployment['id']}", "node": "worker-a"} in speakers
    assert {item["node"] for item in speakers if item["source"] == "daemon"} == {"control-a", "worker-a", "worker-b"}
    of_worker = ask(control, "GET", "/logs?node=worker-a&source=daemon&source=scheduler&source=deployment&limit=1000")
    assert of_worker.headers["X-ModelGrid-Node"] == "worker-a"
    assert {"daemon", f"deployment:{deployment['id']}"} <= {line["source"] for line in of_worker.json()["items"]}
    assert "X-ModelGrid-Node" not in ask(control, "GET", "/logs?node=control-a&source=daemon").headers
    assert ask(control, "GET", "/logs?node=nobody").status_code == 404
    call(control, "DELETE", f"/targets/{SMALL}")
    wait_until("it is gone", lambda: not control.deployments() and not worker.engine_pids(), said=cluster.words)
    history = call(control, "GET", "/history")["items"]
    assert history[0]["id"] == deployment["id"]
    assert call(control, "GET", f"/history/{deployment['id']}")["last_lines"]


def test_a_worker_knows_where_the_console_of_its_control_plane_is(cluster: ClusterUnderTest) -> None:
    control, worker = cluster.control, cluster.workers["worker-a"]
    wait_until("it was told", lambda: call(worker, "GET", "/cluster")["control_plane_console_url"], said=cluster.words)
    found = call(worker, "GET", "/cluster")
    assert found["control_plane_console_url"] == control.console_url
    assert found["control_plane_console_private"] is False, "it is on the same machine"
    environment = {**os.environ, "MODELGRID_STATE_DIR": str(worker.state_dir)}
    said = subprocess.run(
        [MODELGRID, "cluster", "status"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert control.console_url in said


def test_any_gateway_serves_any_model_of_the_cluster(cluster: ClusterUnderTest) -> None:
    control, other = cluster.control, cluster.workers["worker-b"]
    call(control, "PUT", f"/targets/{SMALL}", {"replicas": 1, "node": "worker-a"})
    control.wait_for({"running": 1}, target=SMALL)
    for gateway in (control, other, cluster.workers["worker-a"]):
        headers = {"Authorization": f"Bearer {control.key}"}
        ask_for = {"model": SMALL, "stream": True, "messages": [{"role": "user", "content": "Say something."}]}

        def streams(url: str = gateway.api_url, headers: Any = headers, body: Any = ask_for) -> bool:
            answer = httpx.post(f"{url}/v1/chat/completions", headers=headers, json=body, timeout=30, trust_env=False)
            return answer.status_code == 200 and answer.text.rstrip().endswith("data: [DONE]")

        wait_until(f"{gateway.config['nodeName']} streams from worker-a", streams, said=cluster.words)
        listed = httpx.get(f"{gateway.api_url}/v1/models", headers=headers, trust_env=False).json()["data"]
        assert [model["id"] for model in listed if model["id"] == SMALL] == [SMALL]


def test_what_changes_holds_at_every_gateway_within_half_a_second(cluster: ClusterUnderTest) -> None:
    """A new key, and its end, on the gateways of all nodes: they travel in the routing table, as replicas do."""
    gateways = {"control-a": cluster.control, **cluster.workers}
    taken: list[float] = []
    for number in range(CHANGES):
        made = call(cluster.control, "POST", "/apikeys", {"label": f"spread-{number}"})
        headers = {"Authorization": f"Bearer {made['secret']}"}
        for end, status in ((False, 200), (True, 401)):
            if end:
                call(cluster.control, "DELETE", f"/apikeys/{made['id']}")
            changed = time.monotonic()
            for daemon in gateways.values():
                while httpx.get(f"{daemon.api_url}/v1/models", headers=headers, trust_env=False).status_code != status:
                    assert time.monotonic() < changed + 10, daemon.config["nodeName"]
                    time.sleep(0.005)
            taken.append(time.monotonic() - changed)
    taken.sort()
    median, most = 1000 * taken[len(taken) // 2], 1000 * taken[-1]
    print(f"\n{len(taken)} changes, {len(gateways)} gateways: median {median:.0f} ms, most {most:.0f} ms")
    assert taken[-1] <= SPREAD_SECONDS


def test_the_control_plane_counts_what_other_gateways_answer(cluster: ClusterUnderTest) -> None:
    control, other = cluster.control, cluster.workers["worker-b"]
    headers = {"Authorization": f"Bearer {control.key}"}

    def rate() -> float:
        return float(call(control, "GET", "/overview")["vitals"]["requests_per_second"] or 0.0)

    def asked_elsewhere() -> bool:
        body = {"model": SMALL, "prompt": "1", "max_tokens": 1}
        url = f"{other.api_url}/v1/completions"
        assert httpx.post(url, headers=headers, json=body, timeout=30, trust_env=False).status_code == 200
        return rate() > 0

    wait_until("it is quiet", lambda: rate() == 0.0, said=cluster.words)
    wait_until("the fleet's rate has what worker-b answers", asked_elsewhere, said=cluster.words)


def test_a_drained_node_is_emptied_replacement_first(cluster: ClusterUnderTest) -> None:
    control = cluster.control
    call(control, "PUT", f"/targets/{SMALL}", {"replicas": 1})
    (before,) = control.wait_for({"running": 1}, target=SMALL)
    call(control, "POST", f"/nodes/{before['node']}/drain")

    def moved() -> list[dict[str, Any]]:
        found = control.deployments(SMALL)
        serving = [item for item in found if item["state"] in ("running", "draining")]
        assert serving, f"nothing serves: {found}"
        return [item for item in found if item["state"] == "running" and item["node"] != before["node"]]

    (after,) = wait_until("the replacement serves elsewhere", moved, said=cluster.words)
    wait_until(
        "the node is empty", lambda: [d["id"] for d in control.deployments()] == [after["id"]], said=cluster.words
    )
    assert not cluster.workers["worker-a"].engine_pids()

    def told() -> list[str]:
        events = call(control, "GET", f"/timeline?subject=node&subject_id={before['node']}&newest_first=false")["items"]
        kinds = [event["kind"] for event in events]
        return kinds[kinds.index("draining") :] if kinds[-1] == "drained" else []

    assert wait_until("its drain was told of", told, said=cluster.words) == ["draining", "drained"]
    call(control, "POST", f"/nodes/{before['node']}/activate")
    call(control, "DELETE", f"/targets/{SMALL}")
    wait_until("it is gone", lambda: not control.deployments(), said=cluster.words)


def test_a_worker_decides_nothing(cluster: ClusterUnderTest) -> None:
    refused = ask(cluster.workers["worker-a"], "PUT", f"/targets/{SMALL}", {"replicas": 1})
    assert refused.status_code == 409
    assert "control plane" in refused.json()["error"]["message"]
