"""Engines that die, that cannot load, that fall silent: what the whole daemon makes of it (R21)."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import httpx
import pytest
from daemon_under_test import MESSAGES, QUICK_ENGINES, SMALL, DaemonUnderTest, wait_until

NewDaemon = Callable[..., DaemonUnderTest]


def kinds_and_messages(daemon: DaemonUnderTest, deployment: str) -> list[tuple[str, str]]:
    return [(event["kind"], event["message"]) for event in daemon.client.deployment_events(deployment)["items"]]


def test_a_killed_engine_is_noticed_and_comes_back(new_daemon: NewDaemon) -> None:
    daemon = new_daemon()
    daemon.start()
    (before,) = daemon.run()
    pid = daemon.engine_pids()[before["id"]]
    os.kill(pid, signal.SIGKILL)
    (seen,) = daemon.wait_for({"restarting": 1}, target=SMALL)
    assert "SIGKILL" in seen["reason"]
    assert "try 2 of 8" in seen["reason"]
    with daemon.openai() as client:  # nobody else is there to ask: the request waits for the engine's return
        answer = client.with_options(timeout=30).chat.completions.create(model=SMALL, messages=MESSAGES)
    assert answer.choices[0].message.content
    (after,) = daemon.wait_for({"running": 1}, target=SMALL)
    daemon.wait_routed(SMALL)
    assert after["id"] == before["id"]
    assert after["attempt"] == 2
    assert daemon.engine_pids()[after["id"]] != pid
    assert len(daemon.client.show_deployment(after["id"])["failures"]) == 1
    assert ("exited", "killed by signal 9") in kinds_and_messages(daemon, after["id"])
    record = daemon.client.show_history(after["id"])
    assert any("Application startup complete" in line["text"] for line in record["last_lines"]), (
        "the lines of the engine that died are kept although its deployment lives"
    )


def test_an_engine_that_ends_at_load_is_tried_again_with_growing_pauses(new_daemon: NewDaemon) -> None:
    daemon = new_daemon(engines=f"{QUICK_ENGINES} --sim-fault exit-at-load=3")
    daemon.start()
    daemon.client.put_target(SMALL, {})

    def failures() -> list[dict[str, Any]]:
        (found,) = daemon.deployments(SMALL) or [None]
        return daemon.client.show_deployment(found["id"])["failures"] if found else []

    three = wait_until("three failures", lambda: failures() if len(failures()) >= 3 else None, 40, daemon.words)
    ends = [failure["exit"]["at"] for failure in three]
    assert [failure["exit"]["code"] for failure in three] == [3, 3, 3]
    assert [failure["attempt"] for failure in three] == [1, 2, 3]
    assert ends[1] - ends[0] >= 1.6
    assert ends[2] - ends[1] >= 3.2
    (seen,) = daemon.wait_for({"restarting": 1}, target=SMALL)
    assert "try 4 of 8" in seen["reason"]
    daemon.client.remove_deployment(seen["id"])
    wait_until("it is gone while it waits", lambda: not daemon.deployments(SMALL), 10, daemon.words)
    assert daemon.engine_records() == []


@pytest.mark.parametrize(
    ("fault", "code", "state"),
    [("oom-at-load", "gpu_out_of_memory", "restarting"), ("kv-too-small", "kv_cache_too_small", "failed")],
)
def test_a_known_failure_is_diagnosed(new_daemon: NewDaemon, fault: str, code: str, state: str) -> None:
    daemon = new_daemon(engines=f"{QUICK_ENGINES} --sim-fault {fault}")
    daemon.start()
    daemon.client.put_target(SMALL, {})
    seen = wait_until(
        f"it is {state}",
        lambda: [item for item in daemon.deployments(SMALL) if item["state"] == state],
        20,
        daemon.words,
    )[0]
    (failure,) = daemon.client.show_deployment(seen["id"])["failures"][:1]
    assert failure["diagnosis"]["code"] == code
    assert failure["diagnosis"]["evidence"]
    assert failure["diagnosis"]["cause"] in seen["reason"]
    kinds = [kind for kind, _ in kinds_and_messages(daemon, seen["id"])]
    assert "diagnosed" in kinds
    assert any(seen["id"] in reason["cause"] for reason in daemon.client.overview()["reasons"])
    if state == "failed":
        assert "gave_up" in kinds
        assert seen["engine_id"] is not None
        assert daemon.engine_pids() == {}
        # What was given up begins anew when somebody asks, with a clean slate.
        daemon.client.act(seen["id"], "start")
        again = wait_until(
            "it failed again",
            lambda: [item for item in daemon.deployments(SMALL) if item["attempt"] == 2 and item["state"] == state],
            20,
            daemon.words,
        )[0]
        assert len(daemon.client.show_deployment(again["id"])["failures"]) == 1
    daemon.clear()


def test_an_engine_that_stays_silent_is_not_sent_requests_and_returns(new_daemon: NewDaemon) -> None:
    daemon = new_daemon()
    daemon.start()
    (one,) = daemon.run()
    url = one["engine_url"]

    def faults(*names: str) -> None:
        httpx.post(f"{url}/sim/faults", json={"faults": list(names)}, trust_env=False).raise_for_status()

    faults("unhealthy")
    seen = wait_until("it is unhealthy", lambda: daemon.client.show_deployment(one["id"])["unhealthy_since"], 20)
    assert seen
    assert "unhealthy" in daemon.event_kinds(one["id"])
    faults()
    wait_until("it recovered", lambda: "recovered" in daemon.event_kinds(one["id"]), 20, daemon.words)
    daemon.wait_routed(SMALL)
    (after,) = daemon.deployments(SMALL)
    assert after["attempt"] == 1, "it was not restarted for it"


def test_a_killed_watcher_takes_its_engine_along_and_a_new_one_comes(new_daemon: NewDaemon) -> None:
    daemon = new_daemon()
    daemon.start()
    (one,) = daemon.run()
    (record,) = daemon.engine_records()
    os.kill(record["watcher_pid"], signal.SIGKILL)
    wait_until(
        "it runs again",
        lambda: [item for item in daemon.deployments(SMALL) if item["state"] == "running" and item["attempt"] == 2],
        30,
        daemon.words,
    )
    assert list(daemon.engine_pids()) == [one["id"]]
