"""What config.json asks for: containers, attached engines, models to load, GPUs to keep, models on request."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from daemon_under_test import MESSAGES, SMALL, SMALL_ALIAS, DaemonUnderTest, wait_until
from store_postgres import binaries, postgres_cluster
from tests.ports import free_port

from modelgrid.domain.errors import Conflict
from modelgrid.simulator.spawn import command

NewDaemon = Callable[..., DaemonUnderTest]
OTHER = "meta-llama/Llama-3.1-8B-Instruct"


@contextlib.contextmanager
def foreign_engine(model: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A vLLM (simulated) that somebody else runs."""
    quick = ("--port", str(port), "--sim-load-seconds", "0", "--sim-ttft", "0", "--sim-itl", "0")
    process = subprocess.Popen(command(model, *quick), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_container_of_the_file_is_started_and_stopped_only(new_daemon: NewDaemon) -> None:
    daemon = new_daemon({"containers": [{"name": "chat", "model": SMALL_ALIAS, "context": 2048, "gpus": ["nvidia-1"]}]})
    daemon.start()
    (item,) = daemon.wait_for({"running": 1}, target="chat")
    assert (item["origin"], item["model"], item["gpus"]) == ("config", SMALL, ["nvidia-1"])
    daemon.wait_routed(SMALL_ALIAS)
    for forbidden in (
        lambda: daemon.client.remove_deployment(item["id"]),
        lambda: daemon.client.delete_target("chat"),
    ):
        with pytest.raises(Conflict) as refused:
            forbidden()
        assert "config.json" in refused.value.message
        assert refused.value.fix
    assert daemon.deployments("chat")[0]["state"] == "running"
    daemon.client.act(item["id"], "stop")
    daemon.wait_for({"stopped": 1}, target="chat")
    daemon.restart()
    (stopped,) = daemon.wait_for({"stopped": 1}, target="chat")
    assert stopped["id"] == item["id"], "a restart does not start what an operator stopped"
    daemon.client.act(item["id"], "start")
    daemon.wait_for({"running": 1}, target="chat")

    engine = daemon.engine_pids()
    daemon.write_config({"containers": [{"name": "chat", "model": SMALL_ALIAS, "context": 2048, "gpus": ["nvidia-1"]}]})
    daemon.restart()
    assert daemon.engine_pids() == engine, "the same wish leaves its engine alone"
    daemon.write_config({"containers": [{"name": "other", "model": SMALL, "replicas": 0}]})
    daemon.restart()
    wait_until("what left the file is gone", lambda: not daemon.deployments(), 40, daemon.words)
    assert daemon.engine_pids() == {}
    assert [target["name"] for target in daemon.client.list_targets()["items"]] == ["other"]
    assert daemon.client.show_history(item["id"])["reason"] == "no longer desired"


def test_one_unusable_container_does_not_keep_the_others_from_serving(new_daemon: NewDaemon) -> None:
    daemon = new_daemon(
        {
            "containers": [
                {"name": "bad", "model": SMALL, "image": "--privileged"},
                {"name": "mounted", "model": SMALL, "mounts": [{"source": "/root", "target": "/data"}]},
                {"name": "good", "model": SMALL},
            ],
            "models": {"autoLoad": ["no/such-model"]},
        }
    )
    daemon.start()
    daemon.wait_for({"running": 1}, target="good")
    assert [target["name"] for target in daemon.client.list_targets()["items"]] == ["good"]
    needs = " ".join(reason["cause"] for reason in daemon.client.overview()["reasons"])
    for name in ("bad", "mounted", "no/such-model"):
        assert name in needs
    failed = [check for check in daemon.client.doctor()["items"] if check["result"] == "failed"]
    assert len(failed) == 3
    assert all(check["fix"] for check in failed)


def test_an_attached_engine_is_routed_missed_and_found_again(new_daemon: NewDaemon) -> None:
    port = free_port()
    daemon = new_daemon({"containers": [{"name": "theirs", "model": "their/model", "url": f"http://127.0.0.1:{port}"}]})
    with foreign_engine("their/model", port) as engine:
        daemon.start()
        (item,) = daemon.wait_for({"running": 1}, target="theirs")
        assert item["runtime"] == "external"
        daemon.wait_routed("their/model")
        with daemon.openai() as client:
            assert "their/model" in {model.id for model in client.models.list()}
        daemon.client.act(item["id"], "stop")
        daemon.wait_for({"stopped": 1}, target="theirs")
        assert engine.poll() is None, "it is not ours to stop"
        daemon.client.act(item["id"], "start")
        daemon.wait_for({"running": 1}, target="theirs")
    gone = wait_until(
        "its death is noticed",
        lambda: [d for d in daemon.deployments("theirs") if d["state"] == "restarting"],
        30,
        daemon.words,
    )
    assert "looked for again" in gone[0]["reason"]
    with foreign_engine("their/model", port):
        daemon.wait_for({"running": 1}, target="theirs")
        daemon.wait_routed("their/model")
        assert daemon.stop() == 0
        assert httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200


def test_gpus_are_kept_for_what_they_are_assigned_to(new_daemon: NewDaemon) -> None:
    daemon = new_daemon({"gpus": {"simulate": 2, "assignments": {"nvidia-0": OTHER}}, "models": {"autoLoad": [SMALL]}})
    daemon.start()
    (small,) = daemon.wait_for({"running": 1}, target=SMALL)
    assert small["origin"] == "catalog"
    assert small["gpus"] == ["nvidia-1"]
    (other,) = daemon.run(OTHER)
    assert other["gpus"] == ["nvidia-0"]
    (more,) = daemon.client.preview_target({"model": "Qwen/Qwen2.5-1.5B-Instruct", "gpus": ["nvidia-0"]})["decisions"]
    assert more["node"] is None
    assert any(OTHER in verdict["reason"] for verdict in more["verdicts"])
    assert {g["gpu"]["id"]: g["assigned_to"] for g in daemon.client.list_gpus()["items"]}["nvidia-0"] == OTHER
    daemon.clear()


def test_a_request_brings_a_model_of_the_catalog_up_and_waits_for_it(new_daemon: NewDaemon) -> None:
    daemon = new_daemon({"models": {"autoDeploy": True}}, engines="--sim-load-seconds 1 --sim-ttft 0.01 --sim-itl 0")
    daemon.start()

    def chat(model: str, **options: Any) -> str:
        with daemon.openai() as client:
            answer = client.with_options(**options).chat.completions.create(
                model=model, messages=MESSAGES, max_tokens=2
            )
            return answer.model

    with ThreadPoolExecutor(4) as clients:
        key = daemon.key
        asked = [clients.submit(chat, name) for name in (SMALL_ALIAS, SMALL, SMALL_ALIAS)]
        assert [future.result() for future in asked] == [SMALL] * 3
    (item,) = daemon.deployments()
    assert (item["target"], item["origin"], item["state"]) == (SMALL, "catalog", "running")
    with pytest.raises(openai.NotFoundError):
        chat("no/such-model")

    started = time.monotonic()
    with pytest.raises(openai.InternalServerError) as unfit:
        chat("deepseek-ai/DeepSeek-V3.1")
    assert (unfit.value.status_code, unfit.value.code) == (503, "model_not_running")
    assert "GiB" in unfit.value.message, "it says what is missing"
    assert int(unfit.value.response.headers["retry-after"]) >= 1
    assert time.monotonic() - started < 30, "it does not wait for what will not come"
    daemon.client.delete_target("deepseek-ai/DeepSeek-V3.1")

    daemon.client.remove_deployment(item["id"])
    wait_until("it is gone", lambda: not daemon.deployments(), 40, daemon.words)
    # Gateways go on telling what was once asked for; that must not bring back what was removed on purpose.
    # The report that tells of another model repeats the first one.
    with pytest.raises(openai.APITimeoutError):
        chat(OTHER, timeout=0.3)
    daemon.wait_for({"running": 1}, target=OTHER)  # the client has gone, the load went on
    assert [target["name"] for target in daemon.client.list_targets()["items"]] == [OTHER]
    assert daemon.key == key
    daemon.clear()


def test_a_request_brings_a_model_back_while_what_ran_still_drains(new_daemon: NewDaemon) -> None:
    engines = "--sim-load-seconds 0.5 --sim-ttft 0.01 --sim-itl 0.05 --sim-output-tokens 4000"
    daemon = new_daemon({"models": {"autoDeploy": True}}, engines=engines)
    daemon.start()
    with daemon.openai() as client:

        def chat() -> str:
            return client.chat.completions.create(model=SMALL, messages=MESSAGES, max_tokens=2).model

        assert chat() == SMALL
        (first,) = daemon.deployments()
        with client.chat.completions.create(model=SMALL, messages=MESSAGES, max_tokens=4000, stream=True) as long:
            next(long)
            daemon.client.delete_target(SMALL)
            daemon.wait_for({"draining": 1}, target=SMALL)
            assert chat() == SMALL
            assert {item["id"]: item["state"] for item in daemon.deployments()}[first["id"]] == "draining"
            next(long)
    daemon.clear()


def test_a_load_that_fails_answers_who_waits_with_the_reason(new_daemon: NewDaemon) -> None:
    daemon = new_daemon({"models": {"autoDeploy": True}}, engines="--sim-load-seconds 0.1 --sim-fault kv-too-small")
    daemon.start()
    with daemon.openai() as client, pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(model=SMALL_ALIAS, messages=MESSAGES)
    assert (failed.value.status_code, failed.value.code) == (503, "model_not_running")
    print(failed.value.message)
    assert daemon.deployments(SMALL)[0]["reason"].rstrip(".") in failed.value.message
    daemon.clear()


def test_a_cordoned_node_takes_nothing_new(new_daemon: NewDaemon) -> None:
    daemon = new_daemon()
    daemon.start()
    (first,) = daemon.run()
    daemon.client.act_on_node("here", "cordon")
    daemon.client.put_target(SMALL, {"replicas": 2})
    found = daemon.wait_for({"running": 1, "pending": 1}, target=SMALL)
    (pending,) = (item for item in found if item["id"] != first["id"])
    assert "cordoned" in pending["reason"]
    daemon.restart()
    daemon.wait_for({"running": 1, "pending": 1}, target=SMALL)
    daemon.client.act_on_node("here", "activate")
    daemon.wait_for({"running": 2}, target=SMALL)
    daemon.clear()


@pytest.mark.skipif(binaries() is None, reason="no PostgreSQL here")
def test_the_state_can_be_in_postgresql(new_daemon: NewDaemon) -> None:
    with postgres_cluster() as cluster:
        url = cluster.url(cluster.create_database())
        daemon = new_daemon(arguments=["--state-url", url])
        daemon.start()
        (item,) = daemon.run()
        engines = daemon.engine_pids()
        daemon.kill_control()
        daemon.wait_for({"running": 1}, target=SMALL, seconds=60)
        cluster.restart_immediately()
        wait_until(
            "changes are accepted again",
            lambda: daemon.client.put_target(SMALL, {"replicas": 1})["replicas"] == 1,
            30,
            daemon.words,
        )
        assert daemon.client.generate_api_key({"label": "after the restart"})["secret"]
        assert daemon.engine_pids() == engines
        daemon.client.remove_deployment(item["id"])
        wait_until("it is gone", lambda: not daemon.deployments(), 40, daemon.words)
        assert daemon.client.show_history(item["id"])["reason"] == "remove requested by local"
        assert not (daemon.state_dir / "state.db").exists()
        assert daemon.stop() == 0, daemon.words()
