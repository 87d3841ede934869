"""The whole in one answer: vitals, verdict and the catalog's drift; and the verdict where load balancers look."""

from collections.abc import Callable
from typing import Any

import httpx
from daemon_under_test import SMALL, DaemonUnderTest, wait_until

TOO_LARGE = "deepseek-ai/DeepSeek-V3.1"


def health(daemon: DaemonUnderTest) -> tuple[int, Any]:
    answer = httpx.get(f"{daemon.api_url}/health", trust_env=False)
    return answer.status_code, answer.json()


def test_vitals_follow_the_traffic(shared_daemon: DaemonUnderTest) -> None:
    client = shared_daemon.client
    client.put_target(SMALL, {})
    (item,) = shared_daemon.wait_for({"running": 1}, SMALL)
    with shared_daemon.openai() as openai:

        def ask() -> Any:
            openai.chat.completions.create(model=SMALL, messages=[{"role": "user", "content": "hi"}], max_tokens=8)
            found = client.overview()["vitals"]
            seen = found["output_tokens_per_second"] and found["latency_seconds"]["p50"]
            return seen and found["daemon_cpu_percent"] and found  # measured over a second, in which it may rest

        vitals = wait_until("the vitals show it", ask)
    assert vitals["error_ratio"] == 0
    assert vitals["output_tokens_per_second"] > 0
    quantiles = vitals["latency_seconds"]
    assert 0 < quantiles["p50"] <= quantiles["p95"] <= quantiles["p99"]
    assert vitals["time_to_first_token_seconds"]["p99"] > 0
    assert (vitals["queued"], vitals["gpu_utilization_percent"] is not None) == (0, True)
    assert 0 < vitals["vram_used_bytes"] < vitals["vram_total_bytes"]
    assert 20_000_000 < vitals["daemon_memory_bytes"] < 500_000_000
    assert 0 < vitals["daemon_cpu_percent"] < 1000
    assert vitals["daemon_loop_lag_seconds"] >= 0
    assert client.overview()["catalog_drift"] == {"added": [], "changed": [], "removed": []}
    (shown,) = [row for row in client.list_deployments()["items"] if row["id"] == item["id"]]
    assert shown["state"] == "running"


def test_memory_of_a_gpu_is_told_apart(shared_daemon: DaemonUnderTest) -> None:
    client = shared_daemon.client
    client.put_target(SMALL, {})
    (item,) = shared_daemon.wait_for({"running": 1}, SMALL)

    def ours() -> Any:
        (gpu,) = [gpu for gpu in client.list_gpus()["items"] if item["id"] in gpu["deployments"]]
        return gpu["used_by_deployments_bytes"] and gpu

    gpu = wait_until("its process is seen", ours)
    assert gpu["used_by_deployments_bytes"] + gpu["used_by_others_bytes"] == gpu["gpu"]["vram_used_bytes"]
    assert [process["deployment"] for process in gpu["gpu"]["processes"]] == [item["id"]]
    for other in client.list_gpus()["items"]:
        if not other["deployments"]:
            assert other["used_by_deployments_bytes"] == 0


def test_health_says_the_verdict_and_stays_200(new_daemon: Callable[..., DaemonUnderTest]) -> None:
    daemon = new_daemon()
    daemon.start()
    wait_until("the verdict is there", lambda: health(daemon) == (200, {"status": "ok", "verdict": "healthy"}), 10)
    daemon.client.put_target(TOO_LARGE, {})
    wait_until("it changes", lambda: health(daemon) == (200, {"status": "ok", "verdict": "down"}), 10)
    overview = daemon.client.overview()
    assert (overview["verdict"], overview["sentence"]) == ("down", "Down: Requests are not served.")
    assert any(TOO_LARGE in reason["impact"] for reason in overview["reasons"]), overview["reasons"]
    daemon.client.put_target(SMALL, {})
    wait_until("a model is answered", lambda: health(daemon)[1]["verdict"] == "degraded")
    daemon.client.delete_target(TOO_LARGE)
    wait_until("it is well again", lambda: health(daemon)[1]["verdict"] == "healthy", 10)
