"""A worker whose Docker hangs or is stopped (row R25): its engines are not taken for stopped, neither there nor by the
control plane, so nothing is restarted or started elsewhere, and the node goes on speaking. A real Docker Engine, with a
socket of ours in front of it."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))

from cluster_kit import HEARTBEAT_SECONDS, ClusterUnderTest, call, cluster_in
from daemon_under_test import SMALL, wait_until
from engine_relay import Relay
from runtime_stage import IMAGE, SOCKETS, unusable

from modelgrid.decide.liveness import LOST_AFTER_HEARTBEATS
from modelgrid.domain.target import RuntimeKind

AWAY_SECONDS = 12.0
"""Longer than a silent node takes to be lost."""
NOTICED_SECONDS = 60.0
ENGINE = """
import http.server, json, sys
class Engine(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"object": "text_completion", "choices": [{"text": "1", "index": 0}], "data": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *_): pass
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.ThreadingHTTPServer(("0.0.0.0", port), Engine).serve_forever()
"""
"""Answers everything as vLLM answers a completion. Ends by SIGKILL alone, as a process with number 1 does."""


@pytest.fixture
async def docker() -> str:
    if reason := await unusable(RuntimeKind.DOCKER):
        pytest.skip(f"docker: {reason}")
    return SOCKETS[RuntimeKind.DOCKER]


@pytest.fixture
def relay(docker: str, tmp_path: Path) -> Iterator[Relay]:
    made = Relay(tmp_path / "docker.sock", Path(docker))
    made.start()
    yield made
    made.close()


@pytest.fixture
def cluster(relay: Relay, tmp_path: Path) -> Iterator[ClusterUnderTest]:
    with cluster_in(tmp_path, ["worker-a"]) as made:
        worker = made.workers["worker-a"]
        worker.config["docker"] = {
            "runtime": "docker",
            "socketPath": str(tmp_path / "docker.sock"),
            "image": {"cpu": IMAGE},
            "imageCommands": {"modelgrid-test/python": ["python3", "-c", ENGINE]},
        }
        worker.config["gpus"] = {"autoDetect": False, "simulate": False}
        worker.write_config(worker.config)
        made.start()
        made.join("worker-a")
        yield made
        call(made.control, "DELETE", f"/targets/{SMALL}")
        wait_until("its container is gone", lambda: not made.control.deployments(), 60, made.words)


@pytest.mark.engines
@pytest.mark.timeout(240)
def test_a_worker_whose_docker_hangs_or_is_stopped(cluster: ClusterUnderTest, relay: Relay) -> None:
    control = cluster.control
    call(control, "POST", "/nodes/control-a/cordon")
    call(control, "PUT", f"/targets/{SMALL}", {"replicas": 1, "gpu_count": 0, "context": 512})
    (before,) = control.wait_for({"running": 1}, target=SMALL, seconds=90)
    assert before["node"] == "worker-a"
    call(control, "POST", "/nodes/control-a/activate")  # there would be room for another one
    control.wait_routed(SMALL)

    def now() -> dict[str, Any]:
        (found,) = control.deployments(SMALL)
        return dict(found)

    ways: tuple[tuple[str, Callable[[], None], Callable[[], None]], ...] = (
        ("hangs", relay.hold, relay.release),
        ("is stopped", relay.refuse, relay.admit),
    )
    for what, fails, heals in ways:
        fails()
        try:
            start, silences, delays, said = time.monotonic(), [0.0], [], ""
            while (passed := time.monotonic() - start) < AWAY_SECONDS or (not said and passed < NOTICED_SECONDS):
                asked = time.monotonic()
                found, node = now(), cluster.nodes()["worker-a"]
                delays.append(time.monotonic() - asked)
                silences.append(time.time() - node["heartbeat_at"])
                assert node["liveness"] == "ready"
                assert found["state"] == "running", "it is not known to be stopped"
                said = found["trouble"] or said
                time.sleep(0.25)
            assert "Docker" in said
            body = {"model": SMALL, "prompt": "1", "max_tokens": 1}
            headers = {"Authorization": f"Bearer {control.key}"}
            answer = httpx.post(f"{control.api_url}/v1/completions", headers=headers, json=body, trust_env=False)
            assert answer.status_code == 200, "it serves on, also for other nodes"
            assert max(delays) < 5, "who looks does not wait for Docker"
            assert max(silences) < LOST_AFTER_HEARTBEATS * HEARTBEAT_SECONDS
            print(
                f"\nDocker of a worker {what} for {passed:.0f} s: {said!r}; heard at least every "
                f"{max(silences):.1f} s (heartbeat {HEARTBEAT_SECONDS:g} s), slowest look {1000 * max(delays):.0f} ms"
            )
        finally:
            heals()
        wait_until("the trouble is over", lambda: not now()["trouble"], 60, cluster.words)
        assert {key: now()[key] for key in ("id", "node", "attempt", "engine_id")} == {
            key: before[key] for key in ("id", "node", "attempt", "engine_id")
        }, "nothing was restarted, or started elsewhere"
    kinds = [item["kind"] for item in call(control, "GET", "/timeline?subject=node&limit=200")["items"]]
    assert "node_lost" not in kinds
