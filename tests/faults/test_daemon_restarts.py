"""Control dies, the daemon is restarted, rolled, ended: requests and engines go on (R4, R14)."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import openai
import pytest
from daemon_under_test import MESSAGES, QUICK_ENGINES, SMALL, DaemonUnderTest, daemon_in, wait_until
from traffic import Steady, Stream

NewDaemon = Callable[..., DaemonUnderTest]


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    """A daemon with two gateways and five replicas, whose answers take about two seconds."""
    folder, config = tmp_path_factory.mktemp("daemon"), {"api": {"workers": 2}}
    with daemon_in(folder, config, engines="--sim-load-seconds 0.1 --sim-itl 0.03 --sim-output-tokens 400") as daemon:
        daemon.start()
        daemon.run(replicas=5)
        yield daemon
        daemon.clear()
        assert daemon.stop() == 0, daemon.words()
        assert daemon.processes() == [], daemon.describe_processes()


def test_killed_control_leaves_the_stream_and_adopts_every_engine(
    five: DaemonUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    before, engines = five.deployments(SMALL), five.engine_pids()
    assert len(engines) == 5
    gateways = five.gateway_pids
    stream = Stream(five, 60)
    old = five.kill_control()
    began = time.monotonic()
    assert stream.is_complete()
    five.wait_new_control(old)
    five.wait_for({"running": 5}, target=SMALL)
    took = time.monotonic() - began
    after = five.deployments(SMALL)
    assert [(d["id"], d["attempt"], d["engine_id"]) for d in after] == [
        (d["id"], d["attempt"], d["engine_id"]) for d in before
    ]
    assert five.engine_pids() == engines, "0 restarted, 0 duplicates, 0 orphans"
    assert five.gateway_pids == gateways
    with capsys.disabled():
        print(
            f"\nR4: control killed with 5 replicas up: all adopted after {took:.1f} s at load {os.getloadavg()[0]:.1f}"
        )
    assert took <= 10 + 2 * os.getloadavg()[0]
    for deployment in after:
        lines = five.client.deployment_logs(deployment["id"])["items"]
        assert any("Application startup complete" in line["text"] for line in lines), "logs are taken up again"


def test_requests_are_served_while_control_is_away(five: DaemonUnderTest) -> None:
    """Stopped, control cannot even be missed by the kernel: whatever asks it hangs. Nothing may."""
    pid = five.control_pid
    with Steady(five) as steady:
        os.kill(pid, signal.SIGSTOP)
        try:
            seen = steady.answers
            wait_until("twenty more answers", lambda: steady.answers >= seen + 20, 20)
        finally:
            os.kill(pid, signal.SIGCONT)
    assert steady.failures == []
    wait_until("control goes on", five.control_answers, 20, five.words)
    five.wait_for({"running": 5}, target=SMALL)


def test_engines_that_died_while_control_was_away_are_noticed(five: DaemonUnderTest) -> None:
    pids = five.engine_pids()
    deployment, pid = next(iter(pids.items()))
    control = five.control_pid
    os.kill(control, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    wait_until("its process is gone", lambda: pid not in five.engine_pids().values())
    os.kill(control, signal.SIGKILL)
    five.wait_new_control(control)
    wait_until("it is started anew", lambda: five.client.show_deployment(deployment)["attempt"] == 2, 20, five.words)
    five.wait_for({"running": 5}, target=SMALL)
    attempts = {item["id"]: item["attempt"] for item in five.deployments(SMALL)}
    assert attempts.pop(deployment) == 2
    assert set(attempts.values()) == {1}
    assert set(five.engine_pids()) == set(pids)


def test_draining_deployments_with_fifty_streams_breaks_none(
    five: DaemonUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Row R13: a changed wish replaces all five, whose streams go on to their end; what is new goes to the new ones."""
    old = {item["id"] for item in five.deployments(SMALL)}
    with Steady(five) as steady:
        streams = [Stream(five, 200) for _ in range(50)]
        drained = {item["id"]: item for item in five.deployments(SMALL)}
        assert set(drained) == old
        five.client.put_target(SMALL, {"replicas": 5, "context": 4096})
        began = time.monotonic()
        complete = [stream.is_complete() for stream in streams]
        took = time.monotonic() - began
        wait_until(
            "the new ones have replaced the old",
            lambda: {(d["state"], d["id"] in old) for d in five.deployments(SMALL)} == {("running", False)},
            90,
            five.words,
        )
    with capsys.disabled():
        print(f"\nR13: {sum(complete)} of 50 streams whole after {took:.1f} s, {steady.answers} requests beside them")
    assert all(complete)
    assert steady.failures == []


def test_rolling_the_daemon_loses_no_request(five: DaemonUnderTest) -> None:
    engines = five.engine_pids()
    with Steady(five, threads=4) as steady:
        for _ in range(2):
            control, gateways = five.control_pid, five.gateway_pids
            stream = Stream(five, 60)
            os.kill(five.supervisor_pid, signal.SIGHUP)
            five.wait_new_control(control)
            wait_until(
                "a new gateway has taken over",
                lambda gone=gateways: five.gateway_pids and not set(five.gateway_pids) & set(gone),
                40,
                five.words,
            )
            assert stream.is_complete()
            seen = steady.answers
            wait_until("requests are answered", lambda more=seen + 10: steady.answers >= more, 30)
    assert steady.failures == []
    assert five.engine_pids() == engines


def test_sigterm_lets_the_stream_end_and_the_next_start_adopts(five: DaemonUnderTest) -> None:
    engines = five.engine_pids()
    stream = Stream(five, 60)
    assert five.stop() == 0, five.words()
    assert stream.is_complete()
    assert five.engine_pids() == engines, "engines outlive the daemon"
    five.start()
    five.wait_for({"running": 5}, target=SMALL)
    assert five.engine_pids() == engines


def test_killed_gateways_are_replaced_and_know_the_routes_at_once(five: DaemonUnderTest) -> None:
    old = five.gateway_pids
    control = five.kill_control(signal.SIGSTOP)  # so that only the saved table can tell the new one
    try:
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_until("others", lambda: len(set(five.gateway_pids) - set(old)) == len(old), 30, five.words)
        with openai.OpenAI(base_url=f"{five.api_url}/v1", api_key=five.key, max_retries=0, timeout=30) as client:
            assert client.chat.completions.create(model=SMALL, messages=MESSAGES, max_tokens=1).choices
    finally:
        os.kill(control, signal.SIGCONT)


def test_killed_supervisor_takes_the_daemon_along_and_leaves_the_engines(new_daemon: NewDaemon) -> None:
    daemon = new_daemon(engines=QUICK_ENGINES)
    daemon.start()
    (before,) = daemon.run()
    engines = daemon.engine_pids()
    os.kill(daemon.supervisor_pid, signal.SIGKILL)
    daemon.wait_exit()
    wait_until(
        "nothing but the engine and its watcher is left",
        lambda: len(daemon.processes()) == 2,
        30,
        daemon.describe_processes,
    )
    daemon.start()
    (after,) = daemon.wait_for({"running": 1}, target=SMALL)
    assert (after["id"], after["attempt"]) == (before["id"], 1)
    assert daemon.engine_pids() == engines
    daemon.clear()
