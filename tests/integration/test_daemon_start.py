"""The first start of a daemon, the next ones, and the starts that are refused."""

import json
import os
import re
import shlex
import socket
import stat
import subprocess
import time
from collections.abc import Callable

import psutil
import pytest
from daemon_under_test import MODELGRID, SMALL, START_SECONDS, DaemonUnderTest, wait_until

NewDaemon = Callable[..., DaemonUnderTest]
RSS_LIMIT = 150 * 1000**2


def banner_of(daemon: DaemonUnderTest) -> str:
    return wait_until("the banner", daemon.output.read_text, START_SECONDS, daemon.words)


def test_the_first_start_says_all_that_is_needed_and_the_next_ones_no_secret(
    new_daemon: NewDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = new_daemon({"models": {"autoLoad": [SMALL]}})
    began = time.monotonic()
    daemon.start()
    banner = banner_of(daemon)
    cold = time.monotonic() - began
    assert f"http://127.0.0.1:{daemon.ui_port}" in banner
    assert f"http://127.0.0.1:{daemon.port}/v1" in banner
    assert "SIMULATED" in banner
    password = (daemon.state_dir / "initial-password").read_text().strip()
    assert password in banner
    (_,) = set(re.findall(r"mg-[0-9A-Za-z]{38}", banner))

    line = next(line for line in banner.splitlines() if line.strip().startswith("curl "))
    daemon.wait_for({"running": 1}, target=SMALL)

    def curl() -> str:
        return subprocess.run(
            ["bash", "-c", f"{line} --silent --fail-with-body"], capture_output=True, text=True, check=False
        ).stdout

    answer = wait_until("the printed curl line answers", lambda: "chat.completion" in curl() and curl(), said=curl)
    assert json.loads(str(answer))["choices"][0]["message"]["content"]
    assert shlex.split(line)[0] == "curl"

    for path in [daemon.state_dir, *daemon.state_dir.rglob("*")]:
        mode = path.lstat().st_mode
        if path.parent == daemon.state_dir and path.name in {"models", "simulated"}:
            continue  # below a folder that only its owner may enter
        if stat.S_ISDIR(mode):
            assert path == daemon.state_dir or mode & 0o077 == 0 or "simulated" in path.parts, path
        elif path.parent in {daemon.state_dir, daemon.state_dir / "run"}:
            assert mode & 0o077 == 0, f"{path} is open to others"
    assert daemon.state_dir.stat().st_mode & 0o777 == 0o700

    assert daemon.stop() == 0, daemon.words()
    began = time.monotonic()
    daemon.start()
    again = banner_of(daemon)
    warm = time.monotonic() - began
    assert password not in again
    assert f"one-time password in {daemon.state_dir / 'initial-password'}, or set one: modelgrid" in again
    assert not re.search(r"mg-[0-9A-Za-z]{38}", again)
    assert "curl " in again
    processes = [daemon.supervisor_pid, daemon.control_pid, *daemon.gateway_pids]
    assert len(processes) == 3
    resident = {pid: psutil.Process(pid).memory_info().rss for pid in processes}
    with capsys.disabled():
        load = os.getloadavg()[0]
        parts = " + ".join(f"{size / 1024**2:.0f}" for size in resident.values())
        print(f"\nstart: first {cold:.2f} s, warm {warm:.2f} s at load {load:.1f} on {os.cpu_count()} cores")
        print(f"resident: {parts} = {sum(resident.values()) / 1024**2:.0f} MiB (supervisor, control, gateway)")
    assert sum(resident.values()) <= RSS_LIMIT
    daemon.client.set_password("admin", {"password": "a sentence of one's own"})
    daemon.restart()
    assert "Log in as" not in banner_of(daemon)


def test_the_journal_is_told_no_api_key(new_daemon: NewDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """S13: a key is good for ever, and what the journal has is kept and collected."""
    daemon = new_daemon({"models": {"autoLoad": [SMALL]}})
    daemon.start(JOURNAL_STREAM="8:1")
    banner = banner_of(daemon)
    assert (daemon.state_dir / "initial-password").read_text().strip() in banner
    assert "modelgrid config apikey generate" in banner
    written = "".join(path.read_text(errors="replace") for path in (daemon.output, daemon.log))
    assert not re.search(r"mg-[0-9A-Za-z]{38}", written)
    daemon.wait_for({"running": 1}, target=SMALL)


def test_the_url_of_the_database_is_on_no_command_line(new_daemon: NewDaemon) -> None:
    """S13: it may hold a password, and every user of the machine can read command lines."""
    daemon = new_daemon({})
    database = daemon.folder / "elsewhere" / "grid.db"
    daemon.start(MODELGRID_STATE_URL=f"sqlite:///{database}")
    assert database.exists()
    assert not (daemon.state_dir / "state.db").exists()
    seen = [" ".join(process.cmdline()) for process in daemon.processes()]
    assert len(seen) >= 3
    assert not [line for line in seen if str(database) in line]
    before = daemon.client.restart_daemon()["started_at"]
    wait_until("it is replaced", lambda: daemon.client.overview()["started_at"] > before, said=daemon.words)
    assert not (daemon.state_dir / "state.db").exists(), "the next processes have the same database"


def test_two_daemons_never_share_a_state_directory(shared_daemon: DaemonUnderTest) -> None:
    (port, ui_port) = (shared_daemon.port, shared_daemon.ui_port)
    refused = subprocess.run(shared_daemon.command, capture_output=True, text=True, check=False, timeout=30)
    assert refused.returncode == 1
    assert "another daemon runs on this state directory" in refused.stderr
    assert str(shared_daemon.state_dir) in refused.stderr
    assert (port, ui_port) == (shared_daemon.port, shared_daemon.ui_port)
    assert shared_daemon.answers(), "the first one serves on"


@pytest.mark.parametrize(("which", "key"), [("port", "api.port"), ("ui_port", "api.uiPort")])
def test_a_port_in_use_is_named_with_what_to_change(new_daemon: NewDaemon, which: str, key: str) -> None:
    daemon = new_daemon()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", getattr(daemon, which)))
        taken.listen()
        daemon.start(wait=False)
        assert daemon.wait_exit() == 1
    said = daemon.log.read_text()
    assert f"127.0.0.1:{getattr(daemon, which)}" in said
    assert f"change {key}" in said
    assert daemon.processes() == []
    daemon.start()
    assert daemon.stop() == 0, "the same configuration works once the port is free"


@pytest.mark.parametrize(
    ("key", "host"),
    [("api.host", "192.0.2.7"), ("api.uiHost", "no-such-host.invalid")],  # RFC 5737 and 6761: they are nobody's
)
def test_an_address_of_another_machine_is_named_with_what_to_change(new_daemon: NewDaemon, key: str, host: str) -> None:
    daemon = new_daemon()
    daemon.write_config({"api": {key.removeprefix("api."): host}})
    daemon.start(wait=False)
    assert daemon.wait_exit() == 1
    said = daemon.log.read_text()
    assert f"cannot listen on {host}:" in said
    assert f"Set {key} in config.json to an address of this machine." in said
    assert "Stop what uses it" not in said


def test_a_port_in_use_is_noticed_with_several_workers_too(new_daemon: NewDaemon) -> None:
    """Sockets of several workers share their port, and would share it with a stranger who allows that as well."""
    daemon = new_daemon({})
    daemon.write_config({"api": {"workers": 2}})
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", daemon.port))
        taken.listen()
        daemon.start(wait=False)
        assert daemon.wait_exit() == 1
    assert "change api.port" in daemon.log.read_text()
    daemon.start()
    wait_until("both gateways report", lambda: daemon.client.overview()["gateways"] == 2, said=daemon.words)
    assert len(daemon.gateway_pids) == 2


def test_a_runtime_that_is_asked_for_and_missing_ends_the_start(new_daemon: NewDaemon) -> None:
    daemon = new_daemon({"docker": {"runtime": "docker", "socketPath": "/nonexistent/docker.sock"}, "gpus": {}})
    daemon.config["gpus"].pop("simulate")
    daemon.config_path.write_text(json.dumps(daemon.config))
    daemon.start(wait=False)
    assert daemon.wait_exit() == 2, daemon.words()
    said = daemon.log.read_text()
    assert "docker.runtime is 'docker'" in said
    assert "/nonexistent/docker.sock" in said
    assert "Traceback" not in said
    assert said.count("docker.runtime is 'docker'") == 1, "it is not tried again"
    assert daemon.processes() == []


def test_a_start_that_needs_no_container_engine_does_not_wait_for_one(new_daemon: NewDaemon) -> None:
    daemon = new_daemon()
    silent = daemon.folder / "docker.sock"
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(silent))
        engine.listen()
        engine.setblocking(False)
        daemon.write_config({"docker": {"socketPath": str(silent)}})
        daemon.start()
        with pytest.raises(BlockingIOError):
            engine.accept()
        assert daemon.stop() == 0, daemon.words()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"api": {"prot": 1}}', "api.prot: unknown key; did you mean 'port'?"),
        ('{"api": {"port": "8080"}}', "api.port"),
        ('{"api": {"port": 70000}}', "api.port"),
        ('{"api": {"port": 9000, "uiPort": 9000}}', "both 9000"),
        ('{"api": {"port": 90', "is not JSON"),
        ("", "is not JSON"),
        ('{"containers": [{"name": "a", "model": "m"}, {"name": "a", "model": "m"}]}', "used twice"),
        ("\xff", "not UTF-8"),
    ],
)
def test_a_configuration_that_cannot_be_used_starts_nothing(new_daemon: NewDaemon, text: str, said: str) -> None:
    daemon = new_daemon()
    daemon.config_path.write_bytes(text.encode("latin-1"))
    refused = subprocess.run(daemon.command, capture_output=True, text=True, check=False, timeout=30)
    assert refused.returncode == 2, refused.stderr
    assert said in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr
    assert not daemon.state_dir.exists()


def test_a_configuration_that_cannot_be_read_is_named(new_daemon: NewDaemon) -> None:
    daemon = new_daemon()
    daemon.config_path.unlink()
    missing = subprocess.run(daemon.command, capture_output=True, text=True, check=False, timeout=30)
    assert missing.returncode == 2
    assert "does not exist" in " ".join(missing.stderr.split())
    daemon.config_path.mkdir()
    folder = subprocess.run(daemon.command, capture_output=True, text=True, check=False, timeout=30)
    assert folder.returncode == 2
    assert "cannot be read" in " ".join(folder.stderr.split())


def test_a_state_directory_that_cannot_be_made_is_named(new_daemon: NewDaemon) -> None:
    daemon = new_daemon()
    daemon.state_dir.write_text("in the way")
    refused = subprocess.run(daemon.command, capture_output=True, text=True, check=False, timeout=30)
    assert refused.returncode == 2
    assert "state directory" in refused.stderr
    daemon.state_dir.unlink()


def test_verbs_without_a_daemon_say_how_to_start_one(new_daemon: NewDaemon) -> None:
    daemon = new_daemon()
    refused = subprocess.run(
        [str(MODELGRID), "ps", "--state-dir", str(daemon.state_dir)], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "modelgrid up" in refused.stderr
