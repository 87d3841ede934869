"""How nodes come into a cluster: who is taken in, who is not and why, and what comes along."""

import json
import os
import re
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cluster_kit import ClusterUnderTest, ask, call, cluster_in
from daemon_under_test import MODELGRID, SMALL, DaemonUnderTest, wait_until
from impostor import impostor_in

UNHURRIED = {"cluster": {"heartbeatInterval": 5}}
"""A node that restarts may be silent for 40 s. With a heartbeat a second it would be lost on a busy machine, and what
it runs would be started elsewhere, as it should."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    with cluster_in(tmp_path_factory.mktemp("cluster"), ["worker-a"], UNHURRIED) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def lone(cluster: ClusterUnderTest) -> DaemonUnderTest:
    """The worker, still a node of its own."""
    worker = cluster.workers["worker-a"]
    worker.start()
    return worker


@dataclass(frozen=True)
class BroughtAlong:
    """What ran on the worker before it joined."""

    deployment: dict[str, Any]
    engines: dict[str, int]


@pytest.fixture(scope="module")
def brought(cluster: ClusterUnderTest, lone: DaemonUnderTest) -> BroughtAlong:
    """The worker has joined, with an engine that runs there."""
    (deployment,) = lone.run()
    engines = lone.engine_pids()
    cluster.join("worker-a")
    wait_until(
        "it was adopted",
        lambda: [d["id"] for d in cluster.control.deployments()] == [deployment["id"]],
        said=cluster.words,
    )
    return BroughtAlong(deployment, engines)


def nodes_api(
    cluster: ClusterUnderTest, method: str, path: str, credential: str = "", body: bytes = b""
) -> httpx.Response:
    """Call the control plane as a node does, but for the pinning."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = cluster.control.config["cluster"]["port"]
    headers = {"Authorization": f"Bearer {credential}"} if credential else {}
    url = f"https://127.0.0.1:{port}/v1/_cluster{path}"
    return httpx.request(method, url, headers=headers, content=body, verify=context, timeout=30, trust_env=False)


def test_whoever_has_no_credential_learns_nothing(cluster: ClusterUnderTest) -> None:
    for method, path in (("POST", "/heartbeat"), ("GET", "/orders"), ("GET", "/routing"), ("POST", "/leave")):
        for credential in ("", "mgn-" + "a" * 38, cluster.control.token):
            answer = nodes_api(cluster, method, path, credential)
            assert answer.status_code == 401, (method, path)
            assert answer.json()["error"]["code"] == "unauthenticated"
    assert nodes_api(cluster, "GET", "/nothing").status_code == 404
    assert nodes_api(cluster, "GET", "/join").status_code == 404
    for body in (b"", b"{}", b"[]", b"\xff", b'{"secret": 1}'):
        assert nodes_api(cluster, "POST", "/join", body=body).status_code == 422
    assert nodes_api(cluster, "POST", "/join", body=b" " * 70_000).status_code == 413


def test_the_console_of_a_node_is_not_read_by_strangers(cluster: ClusterUnderTest) -> None:
    port = cluster.control.config["cluster"]["port"]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for credential in ("x", "mgn-x", cluster.control.token):
        headers = {"Authorization": f"Bearer {credential}"}
        url = f"https://127.0.0.1:{port}/v1/_ui/deployments"
        assert httpx.get(url, headers=headers, verify=context, trust_env=False).status_code == 401


def test_a_stranger_is_refused_and_an_impostor_hears_nothing(cluster: ClusterUnderTest, lone: DaemonUnderTest) -> None:
    snippet = cluster.invite()
    secret, _, fingerprint = snippet["token"].partition(".")
    other = f"{secret[:-1]}{'y' if secret.endswith('x') else 'x'}"
    cases = {
        "mgj-": (422, "invitation"),
        f"{other}.{fingerprint}": (403, "not known"),
        f"{secret}.{'0' * 64}": (403, "is not the control plane"),
    }
    for token, (status, said) in cases.items():
        refused = ask(lone, "POST", "/cluster/join", {"url": snippet["url"], "token": token})
        assert refused.status_code == status, refused.text
        assert said in refused.json()["error"]["message"]
    unreachable = ask(lone, "POST", "/cluster/join", {"url": "https://127.0.0.1:9", "token": snippet["token"]})
    assert unreachable.status_code == 502
    assert call(lone, "GET", "/cluster")["role"] == "standalone"


def test_an_impostor_is_sent_nothing(cluster: ClusterUnderTest, lone: DaemonUnderTest, tmp_path: Path) -> None:
    """TLS comes to pass with whoever answers, as that is how his certificate is seen; not a byte follows inside it."""
    snippet = cluster.invite()
    secret = snippet["token"].partition(".")[0]
    with impostor_in(tmp_path / "impostor") as impostor:
        body = {"url": impostor.url, "token": snippet["token"]}
        refused = ask(lone, "POST", "/cluster/join", body)
        assert refused.status_code == 403, refused.text
        assert "is not the control plane" in refused.json()["error"]["message"]
        wait_until("the impostor has seen the node", lambda: impostor.handshakes, said=lone.words)
        assert impostor.sent == b""
        trusted = ask(lone, "POST", "/cluster/join", {**body, "token": f"{secret}.{impostor.fingerprint}"})
        assert trusted.status_code == 502, trusted.text
        assert secret.encode() in impostor.sent, "it would have been seen"
    assert call(lone, "GET", "/cluster")["role"] == "standalone"


def test_inviting_on_the_command_line_shows_all_that_the_console_does(cluster: ClusterUnderTest) -> None:
    environment = {**os.environ, "MODELGRID_STATE_DIR": str(cluster.control.state_dir)}
    said = subprocess.run(
        [MODELGRID, "cluster", "invite"], env=environment, capture_output=True, text=True, check=True
    ).stderr
    url = cluster.invite()["url"]
    (command,) = re.findall(rf"^modelgrid cluster join {re.escape(url)} mgj-\S+$", said, re.MULTILINE)
    assert f"\npip install modelgrid && sudo {command} && sudo modelgrid service enable\n" in said
    assert json.loads(said[said.index("{") :]) == {"cluster": {"role": "worker", "controlPlaneUrl": url}}


def test_a_node_joins_with_what_runs_there_and_without_a_restart_of_it(
    cluster: ClusterUnderTest, brought: BroughtAlong
) -> None:
    worker, control = cluster.workers["worker-a"], cluster.control
    (adopted,) = control.wait_for({"running": 1})
    assert (adopted["node"], adopted["origin"]) == ("worker-a", "api")
    (target,) = call(control, "GET", "/targets")["items"]
    assert (target["name"], target["replicas"]) == (SMALL, 1)
    wait_until("the worker has handed over", lambda: not call(worker, "GET", "/targets")["items"], said=worker.words)
    assert worker.engine_pids() == brought.engines
    assert adopted["attempt"] == brought.deployment["attempt"]
    events = call(control, "GET", "/timeline?subject=deployment&limit=200")["items"]
    kinds = [item["kind"] for item in events if "node" not in item["data"]]  # those of the node itself name it
    assert kinds.count("adopted") == 1
    assert "created" not in kinds, "what was brought along was not started a second time"


@pytest.mark.usefixtures("brought")
def test_an_invitation_is_good_once(cluster: ClusterUnderTest) -> None:
    worker = cluster.workers["worker-a"]
    snippet = cluster.invite()
    body = {"url": snippet["url"], "token": snippet["token"]}
    pid = worker.control_pid
    call(worker, "POST", "/cluster/join", body)  # the same machine may join again
    worker.wait_new_control(pid)
    again = ask(worker, "POST", "/cluster/join", body)
    assert again.status_code == 403
    assert "used already" in again.json()["error"]["message"]
    cluster.wait_liveness("worker-a", "ready")


@pytest.mark.usefixtures("brought")
def test_a_worker_outlives_its_control_plane(cluster: ClusterUnderTest) -> None:
    worker, control = cluster.workers["worker-a"], cluster.control
    key = control.key
    headers = {"Authorization": f"Bearer {key}"}
    body = {"model": SMALL, "prompt": "1", "max_tokens": 1}

    def serves() -> bool:
        url = f"{worker.api_url}/v1/completions"
        return httpx.post(url, headers=headers, json=body, timeout=10, trust_env=False).status_code == 200

    wait_until("the worker knows the control plane's key", serves, said=worker.words)
    engines = worker.engine_pids()
    assert len(engines) == 1
    assert control.stop() == 0
    assert serves(), worker.words()
    worker.restart()
    wait_until("the restarted worker serves by what it heard last", serves, said=worker.words)
    assert worker.engine_pids() == engines
    control.start()
    cluster.wait_liveness("worker-a", "ready")
    control.wait_for({"running": 1})
    assert worker.engine_pids() == engines


@pytest.mark.usefixtures("brought")
def test_a_node_leaves_with_what_runs_there(cluster: ClusterUnderTest) -> None:
    worker, control = cluster.workers["worker-a"], cluster.control
    engines, pid = worker.engine_pids(), worker.control_pid
    call(worker, "POST", "/cluster/leave")
    worker.wait_new_control(pid)
    wait_until("the control plane has let it go", lambda: list(cluster.nodes()) == ["control-a"], said=cluster.words)
    worker.wait_for({"running": 1})
    assert worker.engine_pids() == engines
    (target,) = call(worker, "GET", "/targets")["items"]
    assert (target["name"], target["replicas"]) == (SMALL, 1)
    control.wait_for({"running": 1}, target=SMALL)  # the control plane goes on serving it, by itself
