"""A model from `run` to its history, through the API, the gateway and the command line."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from daemon_under_test import MESSAGES, MODELGRID, SMALL, SMALL_ALIAS, DaemonUnderTest, wait_until

from modelgrid.domain.errors import Conflict, NotFound

OTHER = "Qwen/Qwen3-Embedding-0.6B"


@pytest.fixture
def daemon(shared_daemon: DaemonUnderTest) -> Iterator[DaemonUnderTest]:
    yield shared_daemon
    shared_daemon.clear()


def in_order(kinds: list[str], wanted: list[str]) -> bool:
    rest = iter(kinds)
    return all(kind in rest for kind in wanted)


def test_every_step_to_running_is_an_event_with_a_reason(daemon: DaemonUnderTest) -> None:
    (deployment,) = daemon.run()
    events = daemon.client.deployment_events(deployment["id"])["items"]
    assert in_order(
        [event["kind"] for event in events], ["created", "scheduled", "pulling", "pulled", "started", "ready"]
    )
    assert all(event["message"] for event in events)
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    assert deployment["simulated"] is True
    detail = daemon.client.show_deployment(deployment["id"])
    assert detail["decision"]["need"]["terms"]
    assert detail["gpus"] == list(detail["decision"]["gpus"])
    (gpu,) = (item for item in daemon.client.list_gpus()["items"] if deployment["id"] in item["deployments"])
    assert gpu["gpu"]["id"] in deployment["gpus"]

    def has_started() -> bool:
        lines = daemon.client.deployment_logs(deployment["id"])["items"]
        return any("Application startup complete" in line["text"] for line in lines)

    wait_until("the log tells that the engine started", has_started, 10)


def test_the_openai_sdk_talks_to_it(daemon: DaemonUnderTest) -> None:
    daemon.run()
    with daemon.openai() as client:
        names = {model.id for model in client.models.list()}
        assert SMALL in names
        whole = client.chat.completions.create(model=SMALL, messages=MESSAGES, max_tokens=8)
        assert whole.choices[0].message.content
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 8
        text = ""
        with client.chat.completions.create(
            model=SMALL_ALIAS, messages=MESSAGES, max_tokens=8, stream=True, stream_options={"include_usage": True}
        ) as stream:
            for chunk in stream:
                if chunk.choices:
                    text += chunk.choices[0].delta.content or ""
                elif chunk.usage is not None:
                    assert chunk.usage.completion_tokens == 8
        assert text == whole.choices[0].message.content, "an alias is the same model"
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="no/such-model", messages=MESSAGES)
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="mg-wrong").models.list()


def test_a_revoked_key_is_refused_within_a_second(daemon: DaemonUnderTest) -> None:
    key = daemon.client.generate_api_key({"label": "short-lived"})
    with daemon.openai() as any_key:
        client = any_key.with_options(api_key=key["secret"])

        def refused() -> bool:
            try:
                client.models.list()
            except openai.AuthenticationError:
                return True
            return False

        wait_until("the key is accepted", lambda: not refused(), 5)
        daemon.client.revoke_api_key(key["id"])
        wait_until("the key is refused", refused, 1.0 + os.getloadavg()[0])


def test_stop_start_and_restart_keep_the_row_and_count_the_starts(daemon: DaemonUnderTest) -> None:
    (first,) = daemon.run()
    daemon.client.act(first["id"], "stop")
    (stopped,) = daemon.wait_for({"stopped": 1}, target=SMALL)
    assert stopped["id"] == first["id"]
    assert "stop requested by local" in stopped["reason"]
    assert daemon.client.show_history(first["id"])["state"] == "stopped"
    assert stopped["engine_id"] is None
    assert daemon.engine_pids() == {}
    assert daemon.client.show_target(SMALL)["replicas"] == 1, "a stopped one counts, and is not replaced"
    with daemon.openai() as client, pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model=SMALL, messages=MESSAGES)
    assert refused.value.status_code == 503
    assert int(refused.value.response.headers["retry-after"]) >= 1

    daemon.client.act(first["id"], "start")
    (started,) = daemon.wait_for({"running": 1}, target=SMALL)
    assert started["id"] == first["id"]
    assert started["attempt"] == 2
    daemon.client.act(first["id"], "restart")
    wait_until(
        "it runs again", lambda: [d["attempt"] for d in daemon.deployments(SMALL) if d["state"] == "running"] == [3]
    )
    (pid,) = daemon.engine_pids().values()
    assert daemon.client.show_deployment(first["id"])["engine_id"].startswith(f"{pid}:")
    kinds = daemon.event_kinds(first["id"])
    stop = ["ready", "stop_requested", "draining", "drained", "stopped"]
    start = ["start_requested", "scheduled", "started", "ready"]
    restart = ["restart_requested", "draining", "drained", "stopped", "started", "ready"]
    assert in_order(kinds, [*stop, *start, *restart])
    again = daemon.client.act(first["id"], "start")
    assert again["state"] == "running", "starting what runs changes nothing"
    assert daemon.event_kinds(first["id"]) == kinds


def test_scaling_adds_and_removes_the_right_ones(daemon: DaemonUnderTest) -> None:
    (first,) = daemon.run()
    both = daemon.run(replicas=2)
    assert first["id"] in {item["id"] for item in both}
    assert len({item["port"] for item in both}) == 2
    assert [item["attempt"] for item in both] == [1, 1], "no start failed for a port that two were given"
    assert {gpu for item in both for gpu in item["gpus"]} == {"nvidia-0", "nvidia-1"}, "replicas spread"
    daemon.client.put_target(SMALL, {"replicas": 0})
    wait_until("all are gone", lambda: not daemon.deployments(SMALL), 40, daemon.words)
    assert daemon.client.show_target(SMALL)["replicas"] == 0
    assert daemon.engine_pids() == {}
    ended = {record["id"]: record for record in daemon.client.list_history()["items"]}
    assert {item["id"] for item in both} <= set(ended)
    assert all("scaled down to 0" in ended[item["id"]]["reason"] for item in both)


def test_replicas_that_start_at_the_same_time_do_not_meet_on_a_port(daemon: DaemonUnderTest) -> None:
    found = daemon.run(replicas=6)
    assert [item["attempt"] for item in found] == [1] * 6
    assert len({item["port"] for item in found}) == 6


def test_what_is_removed_leaves_its_reason_its_last_lines_and_its_events(daemon: DaemonUnderTest) -> None:
    (gone,) = daemon.run()
    before = daemon.event_kinds(gone["id"])
    answer = daemon.client.remove_deployment(gone["id"])
    assert answer["state"] in {"draining", "stopping"}
    wait_until("it is gone", lambda: not daemon.deployments(SMALL), 40, daemon.words)
    with pytest.raises(NotFound):
        daemon.client.show_target(SMALL)
    record = daemon.client.show_history(gone["id"])
    assert record["reason"] == "remove requested by local"
    assert record["by"] == "local"
    assert record["state"] == "stopped"
    assert any("Application startup complete" in line["text"] for line in record["last_lines"])
    kinds = daemon.event_kinds(gone["id"])
    assert kinds[: len(before)] == before
    assert in_order(kinds, ["remove_requested", "draining", "drained", "stopped", "removed"])
    assert daemon.client.deployment_logs(gone["id"])["items"], "its lines can still be read by its id"
    with pytest.raises(NotFound):
        daemon.client.show_deployment(gone["id"])
    daemon.restart()
    assert daemon.event_kinds(gone["id"]) == kinds
    assert daemon.client.show_history(gone["id"]) == record


def test_removing_one_of_two_replicas_wants_one_less(daemon: DaemonUnderTest) -> None:
    one, other = daemon.run(replicas=2)
    daemon.client.remove_deployment(one["id"])
    assert daemon.client.show_target(SMALL)["replicas"] == 1
    wait_until("one is left", lambda: [d["id"] for d in daemon.deployments(SMALL)] == [other["id"]], 40, daemon.words)
    assert daemon.deployments(SMALL)[0]["state"] == "running"
    assert list(daemon.engine_pids()) == [other["id"]]


def test_removing_twice_or_acting_on_what_leaves_is_no_harm(daemon: DaemonUnderTest) -> None:
    (first,) = daemon.run()
    barrier = threading.Barrier(4)
    outcomes: list[object] = []

    def remove() -> None:
        barrier.wait()
        try:
            outcomes.append(daemon.client.remove_deployment(first["id"])["intent"])
        except NotFound:
            outcomes.append("remove")

    threads = [threading.Thread(target=remove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["remove"] * 4
    for action in ("start", "stop", "restart"):
        with pytest.raises((Conflict, NotFound)):
            daemon.client.act(first["id"], action)
    wait_until("it is gone", lambda: not daemon.deployments(SMALL), 40, daemon.words)
    assert daemon.client.list_targets()["items"] == []


def test_a_changed_wish_is_rolled_out_without_an_interruption(daemon: DaemonUnderTest) -> None:
    (old,) = daemon.run()
    failures: list[str] = []
    done = threading.Event()

    def ask() -> None:
        with daemon.openai() as client:
            while not done.is_set():
                try:
                    client.chat.completions.create(model=SMALL, messages=MESSAGES, max_tokens=2)
                except openai.OpenAIError as error:
                    failures.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        daemon.client.put_target(SMALL, {"context": 4096})
        new = wait_until(
            "the new one has replaced the old",
            lambda: (
                [d for d in daemon.deployments(SMALL) if d["id"] != old["id"] and d["state"] == "running"]
                if len(daemon.deployments(SMALL)) == 1
                else None
            ),
            60,
            daemon.words,
        )
    finally:
        done.set()
        thread.join()
    assert failures == []
    assert daemon.client.show_deployment(new[0]["id"])["spec"]["context"] == 4096


def test_a_model_that_only_embeds_is_probed_and_routed_as_such(daemon: DaemonUnderTest) -> None:
    daemon.client.put_target(OTHER, {})
    daemon.wait_for({"running": 1}, target=OTHER)
    with daemon.openai() as client:

        def embedded() -> int:
            try:
                return len(client.embeddings.create(model=OTHER, input="a").data[0].embedding)
            except openai.APIStatusError:
                return 0

        assert wait_until("it answers with a vector", embedded)


def test_the_command_line_sees_the_same(daemon: DaemonUnderTest) -> None:
    def modelgrid(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(MODELGRID), *arguments, "--state-dir", str(daemon.state_dir)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    accepted = modelgrid("run", SMALL_ALIAS, "--wait", "--json")
    assert accepted.returncode == 0, accepted.stderr
    listed = modelgrid("ps", "--json")
    (item,) = json.loads(listed.stdout)["items"]
    assert item["model"] == SMALL
    assert item["state"] == "running"
    table = modelgrid("ps")
    assert item["id"] in table.stdout
    assert "running" in table.stdout
    shown = modelgrid("container", "events", item["id"], "--json")
    assert {event["kind"] for event in json.loads(shown.stdout)["items"]} >= {"created", "ready"}
    unknown = modelgrid("run", "qwen2.5-0.5", "--json")
    assert unknown.returncode == 1
    assert "Did you mean" in unknown.stderr


def test_status_says_that_the_gateway_serves_on_when_control_does_not_answer(daemon: DaemonUnderTest) -> None:
    def status() -> "subprocess.CompletedProcess[str]":
        paths = ["--config", str(daemon.config_path), "--state-dir", str(daemon.state_dir)]
        return subprocess.run([str(MODELGRID), "status", *paths], capture_output=True, text=True, check=False)

    pid = daemon.control_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        said = status()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert said.stdout == f"○ Unknown: control does not answer. The gateway at {daemon.api_url} serves on.\n"
    assert said.stderr.startswith("Error: ")
    assert said.returncode == 1
    assert status().returncode == 0


def test_status_takes_no_credit_for_the_gateway_of_another_daemon(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    shutil.copy(daemon.state_dir / "token", tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/endpoint.json").write_text('{"url": "http://127.0.0.1:9"}')
    (tmp_path / "run/daemon.lock").touch()
    paths = ["--config", str(daemon.config_path), "--state-dir", str(tmp_path)]
    said = subprocess.run([str(MODELGRID), "status", *paths], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("Error: No daemon answers at http://127.0.0.1:9: Connection refused.\n")
