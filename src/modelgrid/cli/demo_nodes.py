"""One node of the demonstration: a daemon of its own in a folder of its own, with simulated GPUs and engines."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelgrid.adapters.runtime_process import records
from modelgrid.client.http import ModelGridClient, local_client
from modelgrid.config.paths import ENDPOINT_FILE, STATE_URL
from modelgrid.domain.errors import ModelGridError

ENGINE_ARGUMENTS = "--sim-load-seconds 0.5 --sim-ttft 0.12 --sim-itl 0.015 --sim-output-tokens 100"
"""What every engine is told: as fast as a large model on a good GPU, so that there is something to see."""
STOP_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1
_OURS = ("MODELGRID_CONFIG", "MODELGRID_STATE_DIR", STATE_URL, "MODELGRID_URL", "MODELGRID_TOKEN")
"""Variables that name another daemon."""


class DemoFailed(ModelGridError):
    """The demonstration cannot be given here."""

    code = "demo_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    name: str
    role: str
    gpus: Sequence[str]
    """Kinds of the simulator."""


GIB_OF = {"NVIDIA L40S": 45, "NVIDIA H100 80GB HBM3": 79.65, "AMD Instinct MI300X": 192}


class DemoNode:
    """Nothing runs before `start`. `end` leaves no process behind; the folder is the caller's."""

    def __init__(self, plan: NodePlan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.state_dir = folder / "state"
        self.port, self.ui_port, self.cluster_port, self.peer_port = free_ports(4)
        self._process: subprocess.Popen[bytes] | None = None
        self._held_pid: int | None = None
        folder.mkdir()
        self.config_path.write_text(json.dumps(self._config(), indent=2))

    def _config(self) -> dict[str, Any]:
        return {
            "nodeName": self.plan.name,
            "api": {"port": self.port, "uiPort": self.ui_port},
            "docker": {"runtime": "simulated"},
            "gpus": {"simulate": [{"name": name, "vramGib": GIB_OF[name]} for name in self.plan.gpus]},
            "models": {"registryUrl": None},
            "cluster": {"role": self.plan.role, "port": self.cluster_port, "peerPort": self.peer_port},
        }

    @property
    def config_path(self) -> Path:
        return self.folder / "config.json"

    @property
    def console_url(self) -> str:
        return f"http://127.0.0.1:{self.ui_port}"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def command(self, *arguments: str) -> list[str]:
        """Return a command line that means this node."""
        places = ["--config", str(self.config_path), "--state-dir", str(self.state_dir)]
        return [sys.executable, "-m", "modelgrid.cli", *arguments, *places]

    @staticmethod
    def environment() -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
        return {**inherited, "MODELGRID_SIMULATOR_ARGS": ENGINE_ARGUMENTS}

    def start(self) -> None:
        with (self.folder / "output").open("ab") as output, (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command("up"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env=self.environment(),
                start_new_session=True,  # Ctrl-C is for the demonstration, which then ends the daemons in order
                preexec_fn=_end_with_parent,  # noqa: PLW1509  called from one thread
            )

    def client(self) -> ModelGridClient:
        """Return a client of the daemon, or raise `DaemonUnreachable`."""
        return local_client(self.state_dir, timeout_seconds=10.0)

    def answers(self) -> bool:
        """Whether the daemon's console answers. Raises `DemoFailed` when the daemon has ended."""
        self.check()
        if not (self.state_dir / ENDPOINT_FILE).exists():
            return False
        with contextlib.suppress(ModelGridError), self.client() as client:
            client.health()
            return True
        return False

    def check(self) -> None:
        """Raise `DemoFailed` when the daemon has ended by itself."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        said = (self.folder / "log").read_text(errors="replace").splitlines()[-5:]
        raise DemoFailed(f"The daemon of {self.plan.name} ended with status {code}: {' | '.join(said)}")

    def hold(self) -> None:
        """Stop the control process where it is: to the others this node falls silent, and its engines serve on."""
        self._held_pid = int(json.loads((self.state_dir / ENDPOINT_FILE).read_text())["pid"])
        os.kill(self._held_pid, signal.SIGSTOP)

    def release(self) -> None:
        if self._held_pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._held_pid, signal.SIGCONT)
            self._held_pid = None

    def ask_to_end(self) -> None:
        """Ask the daemon to end. Several are asked before the first is waited for."""
        self.release()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def end(self) -> None:
        """Return when neither the daemon nor any of its engines is left."""
        self.ask_to_end()
        if self._process is not None:
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()  # its children are told by the kernel
                self._process.wait()
        folder = self.state_dir / "simulated" / "engines"
        give_up = time.monotonic() + STOP_SECONDS
        while left := [record for record in records.read_all(folder) if record.watched()]:
            if time.monotonic() > give_up:
                raise DemoFailed(f"Engines of {self.plan.name} do not end: processes {[item.pid for item in left]}.")
            for record in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(record.watcher_pid, signal.SIGUSR1)
            time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _end_with_parent() -> None:
    """However the demonstration ends, its daemons do, too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
