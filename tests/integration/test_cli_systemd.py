"""The systemd units, judged by systemd itself; socket activation and readiness, as systemd does them."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from cli_kit import PROGRAM, Place, end_engines, write_config
from tests.ports import free_port

from modelgrid.cli import service
from modelgrid.cli.systemd_unit import API_SOCKET, SERVICE, UI_SOCKET, UnitFacts, units
from modelgrid.listening import Listen, Sockets

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")

PLAIN = UnitFacts(
    program="/bin/true",
    config="/etc/modelgrid/config.json",
    state_dir="/var/lib/modelgrid",
    api_address="127.0.0.1:8080",
    ui_address="[::1]:8081",
    user="root",
)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, check=False, timeout=60)


@needs_systemd
@pytest.mark.parametrize("odd", [False, True])
def test_systemd_finds_nothing_to_say_about_the_units(tmp_path, odd):
    facts = PLAIN
    if odd:
        program = tmp_path / "model grid 100% $HOME"
        folder = tmp_path / 'a "b" 100% $HOME'
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        facts = UnitFacts(
            program=str(program), config=str(folder / "config.json"), state_dir=str(folder), api_address="0.0.0.0:8080",
            ui_address="127.0.0.1:8081", user="root", model_cache_dir=str(folder / "models"),
        )  # fmt: skip
    paths = service.write_units(units(facts), tmp_path / "units")
    assert {path.name for path in paths} == {SERVICE, API_SOCKET, UI_SOCKET}
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o644}
    judged = analyze("verify", *map(str, paths))
    assert (judged.returncode, judged.stderr, judged.stdout) == (0, "", "")


@needs_systemd
def test_the_service_is_hardened_as_far_as_gpus_allow(tmp_path):
    service.write_units(units(PLAIN), tmp_path)
    judged = analyze("security", "--offline=true", str(tmp_path / SERVICE))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged.stdout)
    if found is None:
        pytest.skip(f"this systemd-analyze judges no unit files: {judged.stderr.strip()}")
    assert float(found[1]) <= 5.0


def test_nothing_in_the_unit_closes_the_device_files_of_gpus():
    text = units(PLAIN)[SERVICE]
    # Each of these implies a list of allowed devices, or hides /dev.
    for setting in ("ProtectClock=yes", "PrivateDevices=yes", "DevicePolicy=", "DeviceAllow="):
        assert setting not in text


def test_sockets_are_named_as_the_supervisor_looks_for_them(tmp_path):
    texts = units(PLAIN)
    names = {unit: re.findall(r"^FileDescriptorName=(\w+)$", text, re.MULTILINE) for unit, text in texts.items()}
    assert names == {SERVICE: [], API_SOCKET: ["api"], UI_SOCKET: ["ui"]}
    for name in ("api", "ui"):
        code = (
            "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid());"
            "from modelgrid.listening import Sockets; all = Sockets();"
            f"all.open({{'name': {name!r}, 'host': '127.0.0.1', 'port': 1, 'count': 1}});"
            "print(all.listening()[0]['port'])"
        )
        with socket.create_server(("127.0.0.1", 0)) as listener:
            done = _activated([sys.executable, "-c", code], {name: listener}, os.environ)
            assert int(done.communicate(timeout=30)[0]) == listener.getsockname()[1]


def test_without_activation_the_supervisor_binds_itself(monkeypatch):
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    port = free_port()
    wanted = Listen(name="api", host="127.0.0.1", port=port, count=1, waits=True)
    sockets = Sockets()
    sockets.open(wanted)
    assert sockets.listening() == [wanted]
    group = sockets.get("api")
    assert group is not None
    with group.sockets[0] as bound:
        assert bound.getsockname() == ("127.0.0.1", port)


def _activated(argv: list[str], sockets: dict[str, socket.socket], environment, **options) -> subprocess.Popen[str]:
    """Start a program with sockets from descriptor 3 on, as systemd does."""
    fds = [item.fileno() for item in sockets.values()]
    # The shell moves the descriptors to their places and becomes the program, so LISTEN_PID is its own id.
    high = [os.dup(fd) for fd in fds]
    moves = " ".join(f"{3 + index}<&{fd}" for index, fd in enumerate(high))
    script = f'export LISTEN_PID=$$; exec {moves}; exec "$@"'
    process = subprocess.Popen(
        ["/bin/bash", "-c", script, "bash", *argv],
        env={**environment, "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": ":".join(sockets)},
        pass_fds=high,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )
    for fd in high:
        os.close(fd)
    return process


def test_the_daemon_serves_on_inherited_sockets_and_says_when_it_is_ready(tmp_path):
    config = write_config(tmp_path)
    place = Place(config, tmp_path / "state")
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with socket.create_server(("127.0.0.1", 0)) as api, socket.create_server(("127.0.0.1", 0)) as ui, notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(60)
        api_port, ui_port = api.getsockname()[1], ui.getsockname()[1]
        document = json.loads(config.read_text())
        config.write_text(json.dumps({**document, "api": {"port": api_port, "uiPort": ui_port}}))
        process = _activated(
            [*PROGRAM, "up"], {"api": api, "ui": ui}, place.environment(NOTIFY_SOCKET=str(tmp_path / "notify")),
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            assert notified.recv(4096) == b"READY=1"
            # Our own copies of the sockets still listen: that they are answered shows who serves them.
            assert httpx.get(f"http://127.0.0.1:{api_port}/health", timeout=10).status_code == 200
            assert httpx.get(f"http://127.0.0.1:{ui_port}/v1/_ui/health", timeout=10).json() == {"status": "ok"}
            assert place.piped("status", "--json").code == 0
        finally:
            end_engines(place)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            if process.stdout is not None:
                process.stdout.close()
        assert notified.recv(4096) == b"STOPPING=1"


FAKE_SYSTEMCTL = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$1" in
show) printf 'LoadState=loaded\\nActiveState=%s\\nSubState=running\\nMainPID=42\\n' "${ACTIVE:-active}";;
esac
exit "${FAILS:-0}"
"""


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """A systemctl that writes down what it is asked, and units that go to a folder of the test."""
    tools = tmp_path / "bin"
    tools.mkdir()
    program = tools / "systemctl"
    program.write_text(FAKE_SYSTEMCTL)
    program.chmod(0o755)
    calls = tmp_path / "calls"
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(calls))
    monkeypatch.setattr(service, "UNIT_DIR", tmp_path / "units")
    monkeypatch.setattr(service, "BOOTED", tools)
    monkeypatch.setattr(service.os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "argv", [str(program)])
    return lambda: calls.read_text().splitlines() if calls.exists() else []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_enable_installs_and_disable_removes(tmp_path, systemctl, capsys):
    place = Place(write_config(tmp_path), tmp_path / "state")
    plain = place.here(capsys, "service", "enable")
    assert "prints the admin password: modelgrid service logs" in plain.err
    said = place.here(capsys, "service", "enable", "--json")
    assert said.code == 0, said.err
    assert sorted(path.name for path in (tmp_path / "units").iterdir()) == sorted([SERVICE, API_SOCKET, UI_SOCKET])
    assert systemctl() == ["daemon-reload", f"enable --now {API_SOCKET} {UI_SOCKET} {SERVICE}"] * 2
    text = (tmp_path / "units" / SERVICE).read_text()
    assert f"--state-dir {place.state} up" in text
    assert (place.state.stat().st_mode & 0o777) == 0o700
    assert place.here(capsys, "service", "disable").code == 0
    assert list((tmp_path / "units").iterdir()) == []
    again = place.here(capsys, "service", "disable")
    assert again.code == 0
    assert "not enabled" in again.err


def test_enable_refuses_before_it_touches_anything(tmp_path, systemctl, capsys, monkeypatch):
    place = Place(write_config(tmp_path), tmp_path / "state")
    nobody = place.here(capsys, "service", "enable", "--user", "no-such-user")
    assert nobody.code == 2
    assert "useradd" in nobody.err
    place.config.write_text("{")
    assert place.here(capsys, "service", "enable").code == 2
    place.config.write_text("{}")
    with monkeypatch.context() as another:
        another.setattr(service, "BOOTED", tmp_path / "nothing")
        without = place.here(capsys, "service", "enable")
    assert (without.code, without.err.splitlines()[0]) == (1, "Error: systemd does not run here.")
    assert "modelgrid up" in without.err
    monkeypatch.setattr(service.os, "geteuid", lambda: 1000)
    assert "sudo" in place.here(capsys, "service", "enable").err
    assert systemctl() == []
    assert not (tmp_path / "units").exists()
    assert not place.state.exists()


def test_status_start_and_failures(tmp_path, systemctl, capsys, monkeypatch):
    place = Place(write_config(tmp_path), tmp_path / "state")
    shown = place.here(capsys, "service", "status")
    assert shown.code == 0
    assert "● active (running)" in shown.out
    assert place.here(capsys, "service", "start", "--json").json["MainPID"] == "42"
    monkeypatch.setenv("ACTIVE", "failed")
    failed = place.here(capsys, "service", "status", "--json")
    assert (failed.code, failed.json["ActiveState"]) == (1, "failed")
    monkeypatch.setenv("FAILS", "1")
    refused = place.here(capsys, "service", "restart", "--json")
    assert (refused.code, refused.error["code"]) == (1, "service_failed")
    monkeypatch.setenv("PATH", str(tmp_path))
    without = place.here(capsys, "service", "start")
    assert without.code == 1
    assert "modelgrid up" in without.err


def test_units_can_be_seen_without_installing_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(Path("/bin/true"))])
    place = Place(write_config(tmp_path), tmp_path / "state")
    items = place.here(capsys, "service", "unit", "--json").json["items"]
    assert [item["name"] for item in items] == [SERVICE, API_SOCKET, UI_SOCKET]
    assert place.here(capsys, "service", "unit").out.startswith(f"# {SERVICE}\n[Unit]\n")
