"""R1 and R23 with the whole control process: acknowledged changes survive kill -9, and nothing leaks over cycles."""

import contextlib
import os
import random
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import httpx
import psutil
import pytest
from daemon_under_test import BYTECODE, SMALL, daemon_in, wait_until

from modelgrid.client.http import ModelGridClient
from modelgrid.domain.errors import DaemonUnreachable

NIGHTLY = os.environ.get("MODELGRID_NIGHTLY") == "1"
KILLS = 200 if NIGHTLY else 10
CYCLES = 50 if NIGHTLY else 6
"""Of two engines each."""
MODELS = (SMALL, "meta-llama/Llama-3.1-8B-Instruct", "BAAI/bge-m3")


class BareControl:
    """The control process without a supervisor, which would wait longer after each kill."""

    def __init__(self, folder: Path) -> None:
        self.state_dir = folder / "state"
        (self.state_dir / "run").mkdir(parents=True, mode=0o700)
        self.config = folder / "config.json"
        self.config.write_text('{"models": {"registryUrl": null}, "docker": {"runtime": "simulated"}}')
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(100)
        self.socket.setblocking(False)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "log"

    def start(self) -> float:
        """Start it; return the seconds until it answered."""
        began = time.monotonic()
        argv = [sys.executable, "-m", "modelgrid.control", "--config", str(self.config)]
        argv += ["--state-dir", str(self.state_dir), "--socket", str(self.socket.fileno())]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                argv, pass_fds=[self.socket.fileno()], stdout=log, stderr=log, env={**os.environ, **BYTECODE}
            )
        process = self.process

        def answers() -> bool:
            assert process.poll() is None, self.log.read_text()[-4000:]
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"{self.url}/v1/_ui/health", timeout=30, trust_env=False).status_code == 200
            return False

        wait_until("control answers", answers, 60, self.log.read_text)
        return time.monotonic() - began

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def client(self) -> ModelGridClient:
        return ModelGridClient(self.url, (self.state_dir / "token").read_text().strip(), timeout_seconds=30)


class Writer:
    """Makes changes until it is stopped, and remembers what was acknowledged. `context` counts up per model."""

    def __init__(self, control: BareControl, number: int) -> None:
        self.model = MODELS[number]
        self.control = control
        self.next = 1024
        self.acknowledged = 0
        self.keys: set[str] = set()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        assert self._thread is not None
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with self.control.client() as client, contextlib.suppress(DaemonUnreachable):
            while not self._stop.is_set():
                self.next += 1
                client.put_target(self.model, {"replicas": 0, "context": self.next})
                self.acknowledged = self.next
                self.keys.add(client.generate_api_key({"label": f"{self.model} {self.next}"})["id"])


@pytest.fixture
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareControl]:
    control = BareControl(tmp_path_factory.mktemp("control"))
    try:
        yield control
    finally:
        control.kill()
        control.socket.close()


@pytest.mark.timeout(120 + 30 * KILLS)
def test_killed_control_loses_nothing_acknowledged(control: BareControl, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(1)
    writers = [Writer(control, number) for number in range(len(MODELS))]
    ready = [control.start()]
    for _ in range(KILLS):
        for writer in writers:
            writer.start()
        wait_until("changes are acknowledged", lambda: any(w.acknowledged == w.next for w in writers), 30)
        time.sleep(chance.random() * 0.4)  # the moment of the kill is the test's chance, not a wait for a state
        control.kill()
        for writer in writers:
            writer.stop()
        ready.append(control.start())
        with control.client() as client:
            contexts = {target["name"]: target["spec"]["context"] for target in client.list_targets()["items"]}
            keys = {key["id"] for key in client.list_api_keys()["items"]}
        for writer in writers:
            if writer.acknowledged:
                assert contexts[writer.model] in {writer.acknowledged, writer.next}, "a change in flight may be made"
                writer.acknowledged = contexts[writer.model]
            assert writer.keys <= keys, "a key that was handed out is gone"
    control.kill()
    with contextlib.closing(sqlite3.connect(control.state_dir / "state.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    control.start()
    total = sum(writer.next - 1024 + len(writer.keys) for writer in writers)
    with capsys.disabled():
        print(
            f"\nR1: control killed {KILLS} times, {total} changes, 0 lost; ready again in {min(ready):.1f} to "
            f"{max(ready):.1f} s at load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        )


def test_cycles_of_starts_and_stops_leak_nothing(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    with daemon_in(
        tmp_path_factory.mktemp("daemon"), engines="--sim-load-seconds 0 --sim-ttft 0 --sim-itl 0"
    ) as daemon:
        daemon.start()

        def cycle() -> None:
            daemon.client.put_target(SMALL, {"replicas": 2})
            daemon.wait_for({"running": 2}, target=SMALL)
            daemon.client.put_target(SMALL, {"replicas": 0})
            wait_until("they are gone", lambda: not daemon.deployments(), 40, daemon.words)

        for _ in range(2):
            cycle()  # threads and connections that are made once are there now
        control, gateway = psutil.Process(daemon.control_pid), psutil.Process(daemon.gateway_pids[0])
        before = _resources(control), _resources(gateway)
        for _ in range(CYCLES):
            cycle()
        after = wait_until("descriptors are given back", lambda: _settled(control, before[0]), 10) and (
            _resources(control),
            _resources(gateway),
        )
        with capsys.disabled():
            said = ", ".join(
                f"{name} fds {b[0]} to {a[0]}, threads {b[1]} to {a[1]}, {b[2] // 2**20} to {a[2] // 2**20} MiB"
                for name, b, a in zip(("control", "gateway"), before, after, strict=True)
            )
            print(f"\nR23: {2 * CYCLES} starts and stops: {said}")
        for b, a in zip(before, after, strict=True):
            assert a[0] - b[0] <= 2
            assert a[1] - b[1] <= 2
        assert daemon.engine_records() == []
        assert daemon.engine_pids() == {}


def _resources(process: psutil.Process) -> tuple[int, int, int]:
    return process.num_fds(), process.num_threads(), process.memory_info().rss


def _settled(process: psutil.Process, before: tuple[int, int, int]) -> bool:
    fds, threads, _ = _resources(process)
    return fds - before[0] <= 2 and threads - before[1] <= 2
