"""The real daemon and the real command line for the engine tests, with a state directory and ports of their own."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
import openai
import psutil
from engines_bed import VllmInfo
from tests.ports import free_ports

from modelgrid.adapters.runtime_docker.runtime import DockerRuntime
from modelgrid.adapters.runtime_process.runtime import ProcessRuntime
from modelgrid.adapters.store_sql import open_store
from modelgrid.client.http import ModelGridClient, local_client
from modelgrid.config.paths import ENDPOINT_FILE
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.target import RuntimeKind
from modelgrid.ports.runtime import Runtime

PROGRAM = Path(sys.executable).with_name("modelgrid")
START_SECONDS = 60
"""A daemon is up in two seconds on a quiet machine; engine tests load theirs."""
LOAD_SECONDS = 300
"""vLLM loads in half a minute on two quiet cores."""
SETTLE_SECONDS = 60
"""For what takes the daemon a few seconds."""
ENGINE_ENV = ("--env", "HF_HUB_OFFLINE=1", "--env", "OMP_NUM_THREADS=1")

T = TypeVar("T")


def until(look: Callable[[], T | None], what: str | Callable[[], str], seconds: float = SETTLE_SECONDS) -> T:
    """Return the first answer of `look` that is true; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.1)
    return found


@dataclass
class EngineDaemon:
    """One daemon over all its restarts. `document` is its config.json but for the ports."""

    folder: Path
    document: Mapping[str, Any]
    port: int = 0
    ui_port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _sdks: list[openai.OpenAI] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.port, self.ui_port = free_ports(2)
        self.folder.mkdir(parents=True, exist_ok=True)
        whole = {"api": {"port": self.port, "uiPort": self.ui_port}, "gpus": {"simulate": False}, **self.document}
        self.config.write_text(json.dumps(whole, indent=2))

    @property
    def config(self) -> Path:
        return self.folder / "config.json"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def log(self) -> Path:
        return self.folder / "daemon.log"

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    # Life of the daemon -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and return when gateway and console answer."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [PROGRAM, "up", "--config", self.config, "--state-dir", self.state],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
            )
        until(self._serves, lambda: f"the daemon serves\n{self.log_tail()}", START_SECONDS)

    def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the daemon ended with {self._process.returncode}\n{self.log_tail()}"
        with contextlib.suppress(httpx.TransportError, ModelGridError, OSError, ValueError):
            if httpx.get(f"{self.url}/health", trust_env=False, timeout=5).status_code == 200:
                with self.client() as client:
                    return bool(client.overview())
        return False

    def stop(self) -> int:
        """End it by SIGTERM, engines run on; return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=SETTLE_SECONDS)
        self._process = None
        return code

    def control_pid(self) -> int:
        pid: int = json.loads((self.state / ENDPOINT_FILE).read_text())["pid"]
        return pid

    def kill_control(self) -> int:
        """kill -9 of the control process; return its pid. The supervisor starts another one by itself."""
        pid = self.control_pid()
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for_control(self, killed: int) -> None:
        until(lambda: self.control_pid() != killed and self._serves(), "control is back", START_SECONDS)

    def close(self, *container_sockets: tuple[RuntimeKind, Path]) -> None:
        """End the daemon and every engine it left, by whatever means."""
        for sdk in self._sdks:
            sdk.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=SETTLE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if (self.state / "state.db").exists():
            asyncio.run(self._sweep(container_sockets))

    async def _sweep(self, container_sockets: Sequence[tuple[RuntimeKind, Path]]) -> None:
        owner = await self._owner()
        runtimes: list[Runtime] = [ProcessRuntime(RuntimeKind.PROCESS, self.state / "engines", owner)]
        runtimes += [DockerRuntime(kind, str(path), owner, [], "") for kind, path in container_sockets]
        for runtime in runtimes:
            await runtime.sweep(())
            await runtime.close()

    def owner(self) -> str:
        """Return the mark that this daemon's engines carry."""
        return asyncio.run(self._owner())

    async def _owner(self) -> str:
        store = await open_store(f"sqlite:///{self.state / 'state.db'}")
        try:
            return (await store.settings(["owner"]))["owner"]
        finally:
            await store.close()

    # What people use ----------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> ModelGridClient:
        return local_client(self.state)

    def cli(self, *arguments: str, seconds: float = LOAD_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run the `modelgrid` command to its end."""
        return subprocess.run(
            [PROGRAM, *arguments],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**_environment(), "MODELGRID_STATE_DIR": str(self.state), "MODELGRID_CONFIG": str(self.config)},
            timeout=seconds,
        )

    def ask(self, *arguments: str) -> Any:
        """Run a command that succeeds and return what it prints with `--json`."""
        done = self.cli(*arguments, "--json")
        assert done.returncode == 0, f"modelgrid {' '.join(arguments)}: {done.returncode}\n{done.stderr}\n{done.stdout}"
        return json.loads(done.stdout)

    def openai(self, *, key: str | None = None) -> openai.OpenAI:
        """Return the real SDK, with a key that the command line made."""
        secret = key or self.ask("config", "apikey", "generate", "--label", "engine tests")["secret"]
        self._sdks.append(
            openai.OpenAI(
                base_url=f"{self.url}/v1",
                api_key=secret,
                max_retries=0,
                timeout=120,
                http_client=openai.DefaultHttpxClient(trust_env=False),
            )
        )
        return self._sdks[-1]

    # What it says -------------------------------------------------------------------------------------

    def deployment(self, name: str) -> dict[str, Any]:
        with self.client() as client:
            return client.show_deployment(name)

    def deployment_of(self, model: str) -> dict[str, Any]:
        """Return the one deployment of a model."""
        with self.client() as client:
            (item,) = client.list_deployments(model=model)["items"]
            return client.show_deployment(item["id"])

    def events(self, deployment: str) -> list[dict[str, Any]]:
        with self.client() as client:
            items: list[dict[str, Any]] = client.deployment_events(deployment)["items"]
            return items

    def wait_for(
        self, deployment: str, holds: Callable[[dict[str, Any]], bool], what: str, seconds: float = LOAD_SECONDS
    ) -> dict[str, Any]:
        """Return the deployment as soon as `holds` is true of it."""

        def look() -> dict[str, Any] | None:
            item = self.deployment(deployment)
            return item if holds(item) else None

        return until(look, lambda: f"{what}\n{self.story(deployment)}", seconds)

    def running(self, deployment: str) -> dict[str, Any]:
        """Return the deployment when it runs and is well."""
        return self.wait_for(deployment, is_running, f"{deployment} runs")

    def story(self, deployment: str) -> str:
        """Return all there is to know, for a failed test."""
        with self.client() as client:
            item = client.show_deployment(deployment)
            lines = [line["text"] for line in client.deployment_logs(deployment, tail=40)["items"]]
        told = [f"{event['kind']}: {event['message']}" for event in self.events(deployment)]
        facts = {name: item[name] for name in ("state", "reason", "trouble", "phase", "attempt", "engine_id")}
        return "\n".join([str(facts), *told, *lines, self.log_tail()])

    def remove(self, deployment: str) -> None:
        """Remove it with the command line, and return when it is gone."""
        done = self.cli("container", "remove", deployment, "--wait")
        assert done.returncode == 0, done.stderr


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("MODELGRID_", "DOCKER_"))}


def is_running(item: Mapping[str, Any]) -> bool:
    return item["state"] == "running" and item["unhealthy_since"] is None


def kinds(events: Sequence[Mapping[str, Any]]) -> list[str]:
    return [event["kind"] for event in events]


@contextlib.contextmanager
def daemon(
    folder: Path, document: Mapping[str, Any], *container_sockets: tuple[RuntimeKind, Path]
) -> Iterator[EngineDaemon]:
    """A daemon that runs. At the end neither it nor any engine of it is left."""
    made = EngineDaemon(folder, document)
    try:
        made.start()
        yield made
    finally:
        made.close(*container_sockets)


# The model ----------------------------------------------------------------------------------------------


def catalog(path: Path, vllm: VllmInfo, *others: Mapping[str, Any]) -> Path:
    """Write a catalog file with the tiny model, and with `others`: its entry with these members changed."""
    tiny = json.loads(vllm.catalog.read_text())["models"][0]
    models = [tiny, *({**tiny, **other} for other in others)]
    path.write_text(json.dumps({"version": 1, "models": models}))
    return path


def architecture(vllm: VllmInfo, **changed: int) -> dict[str, Any]:
    """Return the tiny model's facts with some of them changed."""
    facts: dict[str, Any] = json.loads(vllm.catalog.read_text())["models"][0]["architecture"]
    return {**facts, **changed}


def models_section(catalog_file: Path) -> dict[str, Any]:
    """Return the `models` section of config.json: that catalog, and no registry."""
    return {"registryUrl": None, "sources": [{"name": "testbed", "url": str(catalog_file)}]}


ASKED: Final = "Tell me about the sea."
REPEATABLE: Final[Any] = {
    "messages": [{"role": "user", "content": ASKED}],
    "temperature": 1,
    "seed": 7,
    "extra_body": {"ignore_eos": True, "skip_special_tokens": False},
}
"""The same question gets the same answer. The model's weights are random: its likeliest token is for ever the same
one, and any may end its answer, so it neither takes the likeliest nor ends before the bound."""


def chat(sdk: openai.OpenAI, tokens: int = 16) -> openai.types.chat.ChatCompletion:
    """Ask and wait for the whole answer, of just so many tokens."""
    answer: openai.types.chat.ChatCompletion = sdk.chat.completions.create(
        model="tiny", max_tokens=tokens, **REPEATABLE
    )
    return answer


def stream(sdk: openai.OpenAI, tokens: int) -> Iterator[openai.types.chat.ChatCompletionChunk]:
    """Ask, and yield the answer in pieces."""
    with sdk.chat.completions.create(
        model="tiny", max_tokens=tokens, stream=True, stream_options={"include_usage": True}, **REPEATABLE
    ) as chunks:
        yield from chunks


@dataclass(frozen=True)
class Heard:
    """What a stream said."""

    text: str
    finish: str | None
    usage: openai.types.CompletionUsage | None
    chunks: int


def hear(chunks: Iterator[openai.types.chat.ChatCompletionChunk]) -> Heard:
    """Read a stream to its end."""
    text, finish, usage, count = "", None, None, 0
    for chunk in chunks:
        count += 1
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    return Heard(text, finish, usage, count)


# Processes ----------------------------------------------------------------------------------------------


def family(pid: int) -> list[psutil.Process]:
    """Return a process with everything below it."""
    first = psutil.Process(pid)
    return [first, *first.children(recursive=True)]


def all_gone(processes: Sequence[psutil.Process]) -> bool:
    def there(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return not any(there(process) for process in processes)
