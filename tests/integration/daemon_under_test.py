"""A whole daemon for tests: real processes and sockets in a folder of its own, with simulated GPUs and engines."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
from openai import OpenAI
from tests.ports import free_ports

from modelgrid.client.http import ModelGridClient, local_client
from modelgrid.domain.errors import DaemonUnreachable

MODELGRID = Path(sys.executable).parent / "modelgrid"
QUICK_ENGINES = "--sim-load-seconds 0.1 --sim-ttft 0.01 --sim-itl 0.005"
SMALL = "Qwen/Qwen2.5-0.5B-Instruct"
SMALL_ALIAS = "qwen2.5-0.5b"
MESSAGES: Any = [{"role": "user", "content": "Say something."}]
START_SECONDS = 60.0
"""Bound for a start on a machine that does much else; a quiet one takes a second."""

T = TypeVar("T")

BYTECODE = (
    {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / f"bytecode-{os.getuid()}")}
    if os.environ.get("PYTHONDONTWRITEBYTECODE")
    else {}
)
"""An installed daemon has its bytecode. Where the tests run without, the one under test gets it from another folder."""


def wait_until(what: str, holds: Callable[[], T], seconds: float = 30.0, said: Callable[[], str] = str) -> T:
    """Return the first true answer of `holds`. Fails with `what` and what `said` returns after `seconds`."""
    began = time.monotonic()
    while not (answer := holds()):
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError(f"not within {seconds:g} s: {what}\n{said()}")
        time.sleep(min(0.02 + waited / 20, 0.1))  # looking takes processor time from what is waited for
    return answer


class DaemonUnderTest:
    """`modelgrid up` in `folder`. `config` is laid over a configuration with free ports, two simulated GPUs and no
    registry. Nothing runs before `start`."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any] | None = None,
        *,
        engines: str = QUICK_ENGINES,
        arguments: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self.config_path = folder / "config.json"
        self.port, self.ui_port = free_ports(2)
        self.environment = {"MODELGRID_SIMULATOR_ARGS": engines, **BYTECODE}
        self.arguments = list(arguments)
        self.config: dict[str, Any] = {}
        self.write_config(config or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._client: ModelGridClient | None = None
        self._key = ""

    # configuration

    def write_config(self, sections: Mapping[str, Any]) -> None:
        base: dict[str, Any] = {
            "nodeName": "here",
            "api": {"port": self.port, "uiPort": self.ui_port},
            "docker": {"runtime": "simulated"},
            "gpus": {"simulate": 2},
            "models": {"registryUrl": None},
        }
        for name, section in sections.items():
            base[name] = {**base.get(name, {}), **section} if isinstance(section, dict) else section
        self.config = base
        self.config_path.write_text(json.dumps(base))

    # life

    @property
    def command(self) -> list[str]:
        paths = ["--config", str(self.config_path), "--state-dir", str(self.state_dir)]
        return [str(MODELGRID), "up", *paths, *self.arguments]

    def start(self, *, wait: bool = True, **environment: str) -> None:
        """Start the daemon; with `wait` return when control and the gateway answer."""
        assert self._process is None or self._process.poll() is not None, "it runs already"
        self._starts += 1
        with self.output.open("wb") as output, self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env={**os.environ, **self.environment, **environment},
                start_new_session=True,
            )
        if wait:
            self.wait_ready()

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_ready(self) -> None:
        wait_until("the daemon answers", self.answers, START_SECONDS, self.words)

    def answers(self) -> bool:
        assert self._process is not None
        if (code := self._process.poll()) is not None:
            raise AssertionError(f"the daemon ended with status {code}\n{self.words()}")
        return self.gateway_answers() and self.control_answers()

    def gateway_answers(self) -> bool:
        return _status(f"{self.api_url}/health") == 200

    def control_answers(self) -> bool:
        return (self.state_dir / "run" / "endpoint.json").exists() and _status(
            f"{self.console_url}/v1/_ui/health"
        ) == 200

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60.0) -> int:
        """End the daemon; return its exit status. Engines run on."""
        assert self._process is not None
        self.forget_client()
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(seconds)

    def wait_exit(self, seconds: float = START_SECONDS) -> int:
        assert self._process is not None
        return self._process.wait(seconds)

    def kill_control(self, number: int = signal.SIGKILL) -> int:
        """Signal control; return the pid it had."""
        pid = self.control_pid
        os.kill(pid, number)
        return pid

    def wait_new_control(self, old: int, seconds: float = START_SECONDS) -> None:
        """Return when another control process than `old` answers."""
        wait_until(
            "a new control process answers",
            lambda: self._control() not in (None, old) and self.control_answers() and self.endpoint["pid"] != old,
            seconds,
            self.words,
        )

    def restart(self, **environment: str) -> None:
        assert self.stop() == 0, self.words()
        self.start(**environment)

    def close(self) -> None:
        """End whatever is left: the daemon, then the engines that outlive it by design."""
        self.forget_client()
        if self._process is not None and self._process.poll() is None:
            self.stop()
        for record in self.engine_records():
            with contextlib.suppress(ProcessLookupError):
                os.kill(record["watcher_pid"], signal.SIGUSR1)
        wait_until("nothing of the daemon is left behind", lambda: not self.processes(), 20, self.describe_processes)

    # what it says

    @property
    def output(self) -> Path:
        return self.folder / f"stdout-{self._starts}"

    @property
    def log(self) -> Path:
        return self.folder / f"stderr-{self._starts}"

    def words(self) -> str:
        """Return what the daemon printed and what its deployments say, for a failed assertion."""
        said = f"{self.output.read_text()}\n{self.log.read_text()[-6000:]}"
        with contextlib.suppress(Exception):
            said += "\n" + json.dumps(
                [
                    {k: d[k] for k in ("id", "state", "reason", "attempt", "trouble")}
                    for d in self.client.list_deployments()["items"]
                ]
            )
        return said

    # processes

    @property
    def supervisor_pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def control_pid(self) -> int:
        return wait_until("there is a control process", self._control, said=self.words)

    @property
    def gateway_pids(self) -> list[int]:
        return self._children("modelgrid.gateway")

    def _control(self) -> int | None:
        return next(iter(self._children("modelgrid.control")), None)

    def _children(self, module: str) -> list[int]:
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.supervisor_pid).children():
                with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    if module in child.cmdline():
                        found.append(child.pid)
        return found

    def processes(self) -> list[psutil.Process]:
        """Return every process that has to do with this state directory: the daemon's, engines and their watchers."""
        found = {record[key] for record in self.engine_records() for key in ("pid", "watcher_pid")}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(str(self.state_dir) in argument for argument in process.cmdline()):
                    found.add(process.pid)
        alive = []
        for pid in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(process)
        return alive

    def describe_processes(self) -> str:
        with contextlib.suppress(psutil.Error):
            return "\n".join(f"{process.pid}: {' '.join(process.cmdline())[:300]}" for process in self.processes())
        return ""

    def engine_records(self) -> list[dict[str, Any]]:
        """Return what the runtime has recorded of its engines, running or not."""
        records = []
        for path in (self.state_dir / "simulated" / "engines").glob("*.json"):
            with contextlib.suppress(FileNotFoundError, ValueError):
                record = json.loads(path.read_text())
                if "watcher_pid" in record:
                    records.append(record)
        return records

    def engine_pids(self) -> dict[str, int]:
        """Return the processes that are simulated engines of this daemon by deployment: the truth, not the records."""
        found: dict[str, int] = {}
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                arguments = process.cmdline()
                if "modelgrid.simulator" in arguments:
                    deployment = process.environ()["MODELGRID_DEPLOYMENT"]
                    assert deployment not in found, f"two engines of {deployment}"
                    found[deployment] = process.pid
        return found

    # its API

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def console_url(self) -> str:
        return f"http://127.0.0.1:{self.ui_port}"

    @property
    def endpoint(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state_dir / "run" / "endpoint.json").read_text())
        return found

    @property
    def token(self) -> str:
        return (self.state_dir / "token").read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def client(self) -> ModelGridClient:
        if self._client is None:
            self._client = local_client(self.state_dir)
        return self._client

    def forget_client(self) -> None:
        if self._client is not None:
            self._client.__exit__(None, None, None)
            self._client = None

    @property
    def key(self) -> str:
        """An API key that the gateway knows already."""
        if not self._key:
            self._key = self.client.generate_api_key({"label": "tests"})["secret"]
        headers = {"Authorization": f"Bearer {self._key}"}
        wait_until(
            "the gateway knows the key",
            lambda: _status(f"{self.api_url}/v1/models", headers) == 200,
            said=self.words,
        )
        return self._key

    def use_key(self, key: str) -> None:
        """On a worker: its keys are its control plane's."""
        self._key = key

    @contextlib.contextmanager
    def openai(self) -> Iterator[OpenAI]:
        with OpenAI(base_url=f"{self.api_url}/v1", api_key=self.key, max_retries=0, timeout=60) as client:
            yield client

    # deployments

    def deployments(self, target: str | None = None) -> list[dict[str, Any]]:
        found = self.client.list_deployments()["items"]
        return [item for item in found if target is None or item["target"] == target]

    def wait_for(self, states: Mapping[str, int], target: str | None = None, seconds: float = 40.0) -> list[Any]:
        """Return the deployments once as many as named are in each state, and none in another."""

        def reached() -> list[Any] | None:
            try:
                found = self.deployments(target)
            except DaemonUnreachable:
                return None
            counts: dict[str, int] = {}
            for item in found:
                counts[item["state"]] = counts.get(item["state"], 0) + 1
            return [found] if counts == dict(states) else None

        found: list[Any] = wait_until(f"{dict(states)}", reached, seconds, self.words)[0]
        return found

    def run(self, model: str = SMALL, **wish: Any) -> list[Any]:
        """Deploy a model and return its deployments when all of them run and the gateway routes to one."""
        self.client.put_target(model, wish)
        found = self.wait_for({"running": wish.get("replicas", 1)}, target=model)
        self.wait_routed(model)
        return found

    def wait_routed(self, model: str) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        body = {"model": model, "prompt": "1", "max_tokens": 1}
        wait_until(
            f"the gateway routes {model}",
            lambda: _status(f"{self.api_url}/v1/completions", headers, body) == 200,
            said=self.words,
        )

    def clear(self) -> None:
        """Remove every target that may be removed, and wait until nothing of it is left."""
        for target in self.client.list_targets()["items"]:
            if target["origin"] != "config":
                self.client.delete_target(target["name"])
        kept = {target["name"] for target in self.client.list_targets()["items"]}
        wait_until(
            "cleared deployments are gone",
            lambda: all(item["target"] in kept for item in self.deployments()),
            40,
            self.words,
        )
        wait_until(
            "their engines are gone",
            lambda: set(self.engine_pids()) == {d["id"] for d in self.deployments() if d["engine_id"]},
            20,
            self.describe_processes,
        )

    def event_kinds(self, deployment: str) -> list[str]:
        return [event["kind"] for event in self.client.deployment_events(deployment)["items"]]


def _status(url: str, headers: Mapping[str, str] | None = None, body: Any = None) -> int:
    """Return the status of a GET, or of a POST of `body`; 0 when nothing answers."""
    try:
        response = httpx.request(
            "GET" if body is None else "POST", url, headers=dict(headers or {}), json=body, timeout=10, trust_env=False
        )
    except httpx.HTTPError:
        return 0
    return response.status_code


@contextlib.contextmanager
def daemon_in(folder: Path, config: Mapping[str, Any] | None = None, **options: Any) -> Iterator[DaemonUnderTest]:
    """Yield a daemon that is not started yet; leave nothing of it behind."""
    daemon = DaemonUnderTest(folder, config, **options)
    try:
        yield daemon
    finally:
        daemon.close()
