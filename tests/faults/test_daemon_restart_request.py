"""`POST daemon/restart`: whatever waited for it holds afterwards, and nobody's request was lost."""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import httpx
import pytest
from control_alone import control_alone
from daemon_under_test import DaemonUnderTest, daemon_in, wait_until
from tests.ports import free_ports
from traffic import Steady, Stream

from modelgrid.domain.errors import Conflict


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    with daemon_in(tmp_path_factory.mktemp("daemon"), engines="--sim-load-seconds 0.1 --sim-itl 0.03") as daemon:
        daemon.start()
        daemon.run(replicas=2)
        yield daemon
        daemon.clear()
        assert "Traceback" not in daemon.log.read_text()
        assert daemon.stop() == 0, daemon.words()
        assert daemon.processes() == [], daemon.describe_processes()


def restart(daemon: DaemonUnderTest, gateways: int) -> None:
    """Ask for it, and return when every process is another and the old gateways have gone."""
    control, old = daemon.control_pid, daemon.gateway_pids
    daemon.client.restart_daemon()
    daemon.wait_new_control(control)
    wait_until(
        f"{gateways} new gateways serve alone",
        lambda: len(daemon.gateway_pids) == gateways and not set(daemon.gateway_pids) & set(old),
        60,
        daemon.words,
    )


def test_workers_come_and_go_without_losing_a_request(
    daemon: DaemonUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    engines = daemon.engine_pids()
    answers = 0
    with Steady(daemon, threads=6) as steady:
        for workers in (2, 3, 1, 1):
            daemon.client.patch_config({"api": {"workers": workers}})
            stream = Stream(daemon, 60)
            restart(daemon, workers)
            assert daemon.client.show_config()["pending_restart"] == []
            assert daemon.client.show_config()["config"]["api"]["workers"] == workers
            assert stream.is_complete()
            seen = steady.answers
            wait_until("requests are answered", lambda more=seen + 10: steady.answers >= more, 30)
        answers = steady.answers
    assert steady.failures == []
    assert daemon.engine_pids() == engines, "engines were adopted, none was started"
    with capsys.disabled():
        print(f"\nfour restarts, workers 1 → 2 → 3 → 1 → 1: {answers} requests and 4 streams, 0 lost")


def test_other_addresses_hold_after_it(daemon: DaemonUnderTest) -> None:
    before = daemon.port, daemon.ui_port
    port, ui_port = free_ports(2)
    done = daemon.client.patch_config({"api": {"port": port, "uiPort": ui_port, "host": "0.0.0.0"}, "nodeName": "new"})
    assert [item["path"] for item in done["pending_restart"]] == ["nodeName", "api.port", "api.host", "api.uiPort"]
    daemon.client.restart_daemon()
    daemon.forget_client()
    daemon.port, daemon.ui_port = port, ui_port
    wait_until("the new addresses answer", daemon.answers, 60, daemon.words)
    wait_until(
        "the file says what holds", lambda: daemon.client.show_config()["pending_restart"] == [], 20, daemon.words
    )
    assert daemon.client.list_nodes()["items"][0]["name"] == "new"
    for old in before:
        wait_until("the old ones are closed", lambda port=old: refuses(port), 40, daemon.words)


def test_a_wildcard_takes_over_the_port_of_one_address(daemon: DaemonUnderTest) -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        daemon.client.patch_config({"api": {"host": host}})
        restart(daemon, 1)
        assert daemon.client.show_config()["pending_restart"] == []
    wait_until("it answers", daemon.answers)


def test_ports_for_other_nodes_come_and_go_with_the_role(daemon: DaemonUnderTest) -> None:
    port, peer_port = free_ports(2)
    daemon.client.patch_config({"cluster": {"port": port, "peerPort": peer_port}})
    for role, open_ports in (
        ("control-plane", {port, peer_port}),
        ("standalone", set()),
        ("control-plane", {port, peer_port}),  # at once, while old gateways may still hold them
        ("standalone", set()),
    ):
        daemon.client.patch_config({"cluster": {"role": role}})
        restart(daemon, 1)
        assert daemon.client.show_config()["pending_restart"] == []
        for each in (port, peer_port):
            wait_until(
                f"{each} is {'open' if each in open_ports else 'closed'} for {role}",
                lambda each=each, ports=open_ports: refuses(each) is (each not in ports),
                40,
                daemon.words,
            )
        wait_until("it answers", daemon.answers, 30, daemon.words)
    key = daemon.state_dir / "cluster" / "node.key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_port_for_other_nodes_that_is_taken_is_refused(daemon: DaemonUnderTest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        daemon.client.patch_config({"cluster": {"role": "worker", "peerPort": taken.getsockname()[1]}})
        with pytest.raises(Conflict, match="in use"):
            daemon.client.restart_daemon()
        os.kill(daemon.supervisor_pid, signal.SIGHUP)  # as an operator may, without asking
        wait_until("control says so", lambda: daemon.answers() and peers_are_missing(daemon), 60, daemon.words)
        assert daemon.gateway_answers()
    daemon.client.patch_config({"cluster": {"role": "standalone"}})
    restart(daemon, 1)


def peers_are_missing(daemon: DaemonUnderTest) -> bool:
    return "Nobody listens on cluster.peerPort" in json.dumps(daemon.client.overview())


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize(
    "what",
    [
        "a taken port", "a runtime that is not here", "a certificate that is gone", "no JSON",
        "a folder that nobody can make", "a folder that is a file", "a path that is none",
    ],
)  # fmt: skip
def test_what_would_not_come_up_again_is_refused(daemon: DaemonUnderTest, tmp_path: Path, what: str) -> None:
    good = daemon.config_path.read_text()
    document = json.loads(good)
    control, gateways = daemon.control_pid, daemon.gateway_pids
    with socket.create_server(("127.0.0.1", 0)) as taken:
        changed = {
            "a taken port": {"api": {**document["api"], "uiPort": taken.getsockname()[1]}},
            "a runtime that is not here": {"docker": {"runtime": "podman", "socketPath": str(tmp_path / "none.sock")}},
            "a certificate that is gone": {"api": {**document["api"], "tls": {"certFile": "/no", "keyFile": "/no"}}},
            "no JSON": {},
            "a folder that nobody can make": {"docker": {**document["docker"], "modelCacheDir": "/proc/nope/models"}},
            "a folder that is a file": {"docker": {**document["docker"], "modelCacheDir": "/etc/passwd"}},
            "a path that is none": {"docker": {**document["docker"], "modelCacheDir": "\0"}},
        }[what]
        daemon.config_path.write_text(json.dumps({**document, **changed}) if changed else "{")
        try:
            with pytest.raises(Conflict):
                daemon.client.restart_daemon()
        finally:
            daemon.config_path.write_text(good)
    assert (daemon.control_pid, daemon.gateway_pids) == (control, gateways)
    assert daemon.control_answers()


@pytest.mark.parametrize("folder", ["/proc/nope/models", "/etc/passwd"])
def test_a_start_without_a_folder_for_weights_says_so(daemon: DaemonUnderTest, folder: str) -> None:
    good, control = daemon.config_path.read_text(), daemon.control_pid
    document = json.loads(good)
    daemon.config_path.write_text(json.dumps({**document, "docker": {**document["docker"], "modelCacheDir": folder}}))
    os.kill(daemon.supervisor_pid, signal.SIGHUP)  # as an operator may, without asking
    daemon.wait_new_control(control)
    for said in (daemon.client.overview()["reasons"], daemon.client.doctor()["items"]):
        assert f"docker.modelCacheDir cannot be used: {folder}" in json.dumps(said)
    daemon.config_path.write_text(good)
    restart(daemon, 1)
    assert "modelCacheDir" not in json.dumps(daemon.client.overview()["reasons"])


def test_a_reload_with_a_refused_file_replaces_nothing(daemon: DaemonUnderTest) -> None:
    good = daemon.config_path.read_text()
    control, gateways = daemon.control_pid, daemon.gateway_pids
    daemon.config_path.write_text('{"api": {"port": "x"}}')
    os.kill(daemon.supervisor_pid, signal.SIGHUP)
    wait_until("it says so", lambda: "nothing was restarted" in daemon.log.read_text(), 30, daemon.words)
    daemon.config_path.write_text(good)
    assert (daemon.control_pid, daemon.gateway_pids) == (control, gateways)


def test_what_nobody_started_cannot_be_restarted(tmp_path: Path) -> None:
    with control_alone(tmp_path) as control:
        answer = httpx.post(f"{control.url}/v1/_ui/daemon/restart", headers=control.headers, trust_env=False)
        assert answer.status_code == 409
        assert "modelgrid up" in answer.json()["error"]["fix"]
