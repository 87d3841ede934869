"""A whole cluster for tests: a control plane and workers, each a daemon of its own on loopback, joined as people do."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from daemon_under_test import DaemonUnderTest, daemon_in, wait_until
from tests.ports import free_ports

HEARTBEAT_SECONDS = 1.0
"""Least that the configuration allows: suspect after 3 s, lost after 8."""


class ClusterUnderTest:
    """`control` is started by `start`; `join` starts a worker and has it join."""

    def __init__(self, control: DaemonUnderTest, workers: Sequence[DaemonUnderTest]) -> None:
        self.control = control
        self.workers = {str(worker.config["nodeName"]): worker for worker in workers}

    def start(self) -> None:
        self.control.start()

    def invite(self) -> dict[str, Any]:
        return call(self.control, "POST", "/nodes/join")

    def join(self, name: str) -> DaemonUnderTest:
        """Start a worker (as a node of its own) unless it runs, and return it when it has joined and is heard."""
        worker = self.workers[name]
        if not worker.runs:
            worker.start()
        pid = worker.control_pid
        snippet = self.invite()
        call(worker, "POST", "/cluster/join", {"url": snippet["url"], "token": snippet["token"]})
        worker.wait_new_control(pid)
        self.wait_liveness(name, "ready")
        return worker

    def nodes(self) -> dict[str, dict[str, Any]]:
        return {node["name"]: node for node in call(self.control, "GET", "/nodes")["items"]}

    def wait_liveness(self, name: str, liveness: str, seconds: float = 30.0) -> None:
        wait_until(
            f"{name} is {liveness}",
            lambda: self.nodes().get(name, {}).get("liveness") == liveness,
            seconds,
            self.words,
        )

    def words(self) -> str:
        running = [daemon for daemon in (self.control, *self.workers.values()) if daemon.runs]
        return "\n\n".join(f"--- {daemon.config['nodeName']}\n{daemon.words()}" for daemon in running)


def call(daemon: DaemonUnderTest, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """Call a daemon's console API; return its answer. Fails on any that is not good."""
    answer = ask(daemon, method, path, body)
    assert answer.is_success, f"{answer.status_code}: {answer.text}"
    found: dict[str, Any] = answer.json()
    return found


def ask(daemon: DaemonUnderTest, method: str, path: str, body: Any = None) -> httpx.Response:
    url = f"{daemon.console_url}/v1/_ui{path}"
    return httpx.request(method, url, headers=daemon.headers, json=body, timeout=60, trust_env=False)


@contextlib.contextmanager
def cluster_in(
    folder: Path, workers: Sequence[str] = ("worker-a", "worker-b"), config: Mapping[str, Any] | None = None
) -> Iterator[ClusterUnderTest]:
    """Yield a cluster of which nothing runs yet; leave nothing of it behind. `config` is laid over every node's."""

    def configured(name: str, role: str) -> dict[str, Any]:
        port, peer_port = free_ports(2)
        cluster = {"role": role, "port": port, "peerPort": peer_port, "heartbeatInterval": HEARTBEAT_SECONDS}
        return {"nodeName": name, **(config or {}), "cluster": {**cluster, **(config or {}).get("cluster", {})}}

    with contextlib.ExitStack() as stack:
        made = []
        for name, role in (("control-a", "control-plane"), *((worker, "standalone") for worker in workers)):
            (folder / name).mkdir()
            made.append(stack.enter_context(daemon_in(folder / name, configured(name, role))))
        yield ClusterUnderTest(made[0], made[1:])
