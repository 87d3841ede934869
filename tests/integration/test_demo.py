"""`modelgrid demo`: a living fleet of real daemons, and nothing of it afterwards."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from daemon_under_test import BYTECODE, MODELGRID, wait_until

from modelgrid.client.http import ModelGridClient, local_client
from modelgrid.domain.units import MIB

LARGEST_BYTES = 600 * 1000**2
"""Of memory that is in use: pages that processes share count once (PSS)."""
MOST_CPU_SECONDS = 20.0
"""Until the fleet answers: what two cores that do nothing else have in the ten seconds that it may take."""
STATES = {"running": 5, "starting": 1, "failed": 1, "pending": 1}

NIGHTLY = os.environ.get("MODELGRID_NIGHTLY") == "1"


class Demo:
    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(MODELGRID), "demo", "--json", *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **BYTECODE, "TMPDIR": str(folder), "MODELGRID_CONFIG": "/nowhere/config.json"},
                start_new_session=True,
            )
        self.folder = folder

    def says(self) -> dict[str, Any]:
        """Return the JSON line that it prints when the fleet answers."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        said: dict[str, Any] = json.loads(line)
        return said

    def processes(self) -> list[psutil.Process]:
        """Return every process that has to do with it: its own, daemons, watchers and engines."""
        found = {self.process.pid}
        for path in self.folder.glob("modelgrid-demo-*/*/state/simulated/engines/*.json"):
            with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
                record = json.loads(path.read_text())
                found |= {record["pid"], record["watcher_pid"]}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(str(self.folder) in argument for argument in process.cmdline()):
                    found.add(process.pid)
        alive = []
        for pid in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(process)
        return alive

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        code = self.process.wait(90)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, as the daemons' sockets lie below it, and their paths are bounded."""
    with tempfile.TemporaryDirectory(prefix="demo-", ignore_cleanup_errors=True) as name:
        yield Path(name)
        for process in psutil.process_iter():  # of a test that failed
            with contextlib.suppress(psutil.Error):
                if any(name in argument for argument in process.cmdline()):
                    process.kill()


@pytest.mark.timeout(400)
def test_the_fleet_lives_and_leaves_nothing_behind(folder: Path) -> None:
    demo = Demo(folder, *(["--flap"] if NIGHTLY else []))
    began = time.monotonic()
    said = demo.says()
    took, cpu = time.monotonic() - began, sum(map(_cpu_seconds, demo.processes()))
    sys.stdout.write(f"\ndemo: up after {took:.1f} s and {cpu:.1f} s of CPU, load {os.getloadavg()[0]:.1f}\n")
    assert cpu <= MOST_CPU_SECONDS
    assert said["simulated"] is True
    nodes = {node["name"]: node for node in said["nodes"]}
    assert {node["role"] for node in nodes.values()} == {"control-plane", "worker"}
    with local_client(Path(nodes["control"]["state_dir"])) as client:
        _check_states(client)
        _check_nodes(client, set(nodes))
        # Every gateway serves every model with the key, and the password lets in.
        for node in nodes.values():
            _wait_served(node, said["key"], said["models"])
        login = {"user": said["user"], "password": said["password"]}
        answer = httpx.post(f"{said['console']}/v1/_ui/login", json=login, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert answer.json()["must_change_password"] is False
        # There is traffic that nobody here made.
        before = _requests(said)
        wait_until("requests are answered", lambda: _requests(said) >= before + 10)
        memory = sum(process.memory_full_info().pss for process in demo.processes())
        assert memory <= LARGEST_BYTES, f"{memory / MIB:.0f} MiB"
        resident = sum(process.memory_info().rss for process in demo.processes())
        sys.stdout.write(
            f"demo: {memory / 1000**2:.0f} MB in {len(demo.processes())} processes (shared pages counted in each: "
            f"{resident / 1000**2:.0f} MB)\n"
        )
        if NIGHTLY:  # half a minute of silence
            wait_until("a node falls silent", lambda: "suspect" in _liveness(client).values(), 90)
        wait_until("every node is there", lambda: set(_liveness(client).values()) == {"ready"}, 90)
    assert demo.end() == 0, demo.log.read_text()
    assert demo.processes() == []
    assert [path.name for path in folder.iterdir()] == ["log"], "its folder was left"


def _cpu_seconds(process: psutil.Process) -> float:
    """Return what a process has used, with its children that have ended."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _check_states(client: ModelGridClient) -> None:
    def counts() -> dict[str, int]:
        states = [item["state"] for item in client.list_deployments()["items"]]
        return {state: states.count(state) for state in states}

    wait_until(f"models are in the states {STATES}", lambda: counts() == STATES, 90, lambda: str(counts()))
    by_state = {item["state"]: item for item in client.list_deployments()["items"]}
    assert "KV cache" in by_state["failed"]["reason"]
    assert "GiB free on each" in by_state["pending"]["reason"]


def _check_nodes(client: ModelGridClient, names: set[str]) -> None:
    gpus = client.list_gpus()["items"]
    assert {gpu["node"] for gpu in gpus} == names
    assert {gpu["gpu"]["vendor"] for gpu in gpus} == {"nvidia", "amd"}
    assert all(gpu["gpu"]["simulated"] for gpu in gpus)


def _liveness(client: ModelGridClient) -> dict[str, str]:
    return {node["name"]: node["liveness"] for node in client.list_nodes()["items"]}


def _status(node: dict[str, Any], key: str, model: str) -> int:
    body = {"model": model, "prompt": "1", "max_tokens": 1}
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{node['api']}/completions", headers=headers, json=body, timeout=20, trust_env=False).status_code


def _wait_served(node: dict[str, Any], key: str, models: list[str]) -> None:
    def refused() -> dict[str, int]:
        answers = {model: _status(node, key, model) for model in models}
        return {model: status for model, status in answers.items() if status != 200}

    wait_until(f"{node['name']} serves every model", lambda: not refused(), 60, lambda: str(refused()))


def _requests(said: dict[str, Any]) -> float:
    """Return how many requests the control plane's own gateway has answered."""
    url = said["api"].removesuffix("/v1") + "/metrics"
    text = httpx.get(url, headers={"Authorization": f"Bearer {said['key']}"}, timeout=20, trust_env=False).text
    lines = [
        line for line in text.splitlines() if line.startswith("modelgrid_requests_total") and 'status="2xx"' in line
    ]
    assert lines, text[:2000]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.mark.timeout(200)
def test_ended_while_it_starts_it_leaves_nothing_behind(folder: Path) -> None:
    demo = Demo(folder)
    wait_until("daemons were started", lambda: len(demo.processes()) >= 4, 60)
    demo.end(signal.SIGTERM)
    assert demo.processes() == []
    assert [path.name for path in folder.iterdir()] == ["log"]


def test_it_is_for_this_machine_only(folder: Path) -> None:
    done = subprocess.run([str(MODELGRID), "demo", "--url", "http://x:1"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Leave --url out" in done.stderr
