"""Sockets of which the supervisor holds the port, and on which a child listens when it can answer."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from daemon_under_test import wait_until
from tests.ports import free_port

from modelgrid.supervisor import ChildPlan, Listen, Plan

SERVES_WHEN_TOLD = """
import os, pathlib, signal, socket, sys, time
fd, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
while not (folder / "may-serve").exists():
    time.sleep(0.02)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
listener = socket.socket(fileno=fd)
listener.setblocking(True)
listener.listen(8)
os.write(int(os.environ["MODELGRID_READY_FD"]), b"ready")
os.close(int(os.environ["MODELGRID_READY_FD"]))
while True:
    listener.accept()[0].close()
"""
BUSY_TO_THE_END = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: (folder / "told").touch())
(folder / "busy").touch()
os.write(int(os.environ["MODELGRID_READY_FD"]), b"ready")
os.close(int(os.environ["MODELGRID_READY_FD"]))
while not (folder / "may-end").exists():
    time.sleep(0.02)
"""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def supervisor(tmp_path: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A control process that serves nodes when there is a file `may-serve`, beside a gateway that drains for long."""
    children = [
        ChildPlan(name="control", argv=[sys.executable, "-c", SERVES_WHEN_TOLD, "{fd:cluster:0}", str(tmp_path)]),
        ChildPlan(name="gateway-0", argv=[sys.executable, "-c", BUSY_TO_THE_END, str(tmp_path)]),
    ]
    listen = [Listen(name="cluster", host="127.0.0.1", port=port, count=1, waits=False)]
    plan = Plan(lock=str(tmp_path / "lock"), listen=listen, shared=[], children=children, again=["false"])
    with subprocess.Popen([sys.executable, "-m", "modelgrid.supervisor", json.dumps(plan)]) as process:
        yield process
        for name in ("may-serve", "may-end"):
            (tmp_path / name).touch()
        process.terminate()
        process.wait(timeout=20)


def outcome(port: int) -> Callable[[], str]:
    def call() -> str:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                return "answered" if connection.recv(1) == b"" else "talked to"
        except ConnectionRefusedError:
            return "refused"
        except ConnectionResetError:
            return "reset"  # it waited when the port was closed

    return call


def test_who_calls_is_refused_until_the_child_listens(
    supervisor: "subprocess.Popen[bytes]", port: int, tmp_path: Path
) -> None:
    call = outcome(port)
    wait_until("the port is taken", lambda: _is_taken(port))
    assert call() == "refused"
    (tmp_path / "may-serve").touch()
    wait_until("it is served", lambda: call() == "answered")


def test_who_calls_is_refused_while_the_daemon_ends(
    supervisor: "subprocess.Popen[bytes]", port: int, tmp_path: Path
) -> None:
    call = outcome(port)
    (tmp_path / "may-serve").touch()
    wait_until("it is served", lambda: call() == "answered")
    wait_until("the gateway runs", (tmp_path / "busy").exists)
    supervisor.send_signal(signal.SIGTERM)
    wait_until("the gateway drains", (tmp_path / "told").exists)
    wait_until("nobody listens", lambda: call() == "refused")
    assert supervisor.poll() is None, "the gateway still drains"


def test_a_child_that_starts_again_finds_what_waited(
    supervisor: "subprocess.Popen[bytes]", port: int, tmp_path: Path
) -> None:
    call = outcome(port)
    (tmp_path / "may-serve").touch()
    wait_until("it is served", lambda: call() == "answered")
    control = next(pid for pid, argv in _children(supervisor.pid) if SERVES_WHEN_TOLD in argv)
    (tmp_path / "may-serve").unlink()
    psutil.Process(control).kill()
    wait_until("it is gone", lambda: control not in dict(_children(supervisor.pid)))
    with socket.create_connection(("127.0.0.1", port), timeout=20) as waiting:
        (tmp_path / "may-serve").touch()
        assert waiting.recv(1) == b""


def _children(pid: int) -> list[tuple[int, list[str]]]:
    found = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):  # it has just ended
            found.append((child.pid, child.cmdline()))
    return found


def _is_taken(port: int) -> bool:
    """Whether nobody else could have the port for itself."""
    with socket.socket() as other:
        try:
            other.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
