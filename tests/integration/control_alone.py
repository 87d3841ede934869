"""The control process without a supervisor and without gateways: the whole console API on a real socket."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from daemon_under_test import BYTECODE, QUICK_ENGINES, wait_until


@dataclass(frozen=True, kw_only=True)
class Control:
    url: str
    token: str
    log: Path
    config: Path
    state: Path
    process: subprocess.Popen[bytes]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@contextlib.contextmanager
def control_alone(folder: Path, config: Mapping[str, Any] | None = None) -> Iterator[Control]:
    """Yield one that answers, with two simulated GPUs and simulated engines."""
    state, path, log = folder / "state", folder / "config.json", folder / "stderr"
    (state / "run").mkdir(parents=True)
    simulated = {"docker": {"runtime": "simulated"}, "gpus": {"simulate": 2}, "models": {"registryUrl": None}}
    path.write_text(json.dumps({"nodeName": "here", **simulated, **(config or {})}))
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as output:
        arguments = ["--config", str(path), "--state-dir", str(state), "--socket", str(listening.fileno())]
        process = subprocess.Popen(
            [sys.executable, "-m", "modelgrid.control", *arguments],
            pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=output,
            env={**os.environ, "MODELGRID_SIMULATOR_ARGS": QUICK_ENGINES, **BYTECODE},
        )
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            wait_until("control answers", lambda: _answers(url, process), 60, log.read_text)
            token = (state / "token").read_text().strip()
            yield Control(url=url, token=token, log=log, config=path, state=state, process=process)
        finally:
            process.terminate()
            assert process.wait(30) == 0, log.read_text()


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "it has ended"
    try:
        return httpx.get(f"{url}/v1/_ui/health", trust_env=False, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
