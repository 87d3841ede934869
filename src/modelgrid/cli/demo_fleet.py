"""The demonstration's fleet: a control plane and two workers, and what is asked of them."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import httpx

from modelgrid.cli.demo_nodes import DemoFailed, DemoNode, NodePlan
from modelgrid.cli.session import Session
from modelgrid.client.http import ModelGridClient
from modelgrid.domain.errors import InvalidInput

if TYPE_CHECKING:
    from modelgrid.client.views import TargetBody

START_SECONDS = 120.0
"""Bound for a machine that does much else; a quiet one takes a few seconds."""
POLL_SECONDS = 0.1
LONGEST_FOLDER = 48
"""Characters. The path of a Unix socket has 107, and `/modelgrid-demo-…/worker-a/state/run/control.sock` takes 48."""
AWAY_SECONDS = 25.0
BACK_SECONDS = 20.0
"""How a node flaps: silent for longer than it takes to become suspect, then back for long enough to be seen."""

NODES = (
    NodePlan(name="control", role="control-plane", gpus=("NVIDIA L40S",)),
    NodePlan(name="worker-a", role="worker", gpus=("NVIDIA H100 80GB HBM3",) * 2),
    NodePlan(name="worker-b", role="worker", gpus=("AMD Instinct MI300X",) * 2),
)
FLAPPING = "worker-b"

RUNNING: "dict[str, TargetBody]" = {
    "meta-llama/Llama-3.1-8B-Instruct": {"replicas": 2, "node": "worker-a"},
    "Qwen/Qwen3-8B": {"vendor": "amd"},
    "openai/gpt-oss-20b": {"vendor": "amd"},
    "Qwen/Qwen2.5-0.5B-Instruct": {"node": "control"},
}
OTHERS: "dict[str, TargetBody]" = {
    # Loads for an hour, with a line of its log every twelve minutes.
    "google/gemma-3-12b-it": {"node": "worker-a", "args": ["--sim-load-seconds=3600"]},
    "mistralai/Mistral-7B-Instruct-v0.3": {"vendor": "amd", "args": ["--sim-fault=kv-too-small"]},
    "deepseek-ai/DeepSeek-R1-0528": {},
}
"""One that keeps starting, one that fails with a diagnosis, and one that is larger than the fleet."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What one needs to look at the fleet."""

    password: str
    key: str


class DemoFleet:
    """`open` starts it, `close` ends and removes it, whatever `open` had come to."""

    def __init__(self) -> None:
        parent = Path(tempfile.gettempdir())
        if len(str(parent)) > LONGEST_FOLDER:
            raise InvalidInput(
                f"The folder for temporary files, {parent}, is too deep for Unix sockets below it.",
                fix="Set TMPDIR to a shorter one, such as /tmp.",
            )
        self.folder = Path(tempfile.mkdtemp(prefix="modelgrid-demo-", dir=parent))
        self.nodes = tuple(DemoNode(plan, self.folder / plan.name) for plan in NODES)

    @property
    def control(self) -> DemoNode:
        return self.nodes[0]

    @property
    def workers(self) -> tuple[DemoNode, ...]:
        return self.nodes[1:]

    async def open(self, say: Callable[[str], None]) -> Opened:
        """Start the control plane, ask it for models, have the workers join and start them; return when a model
        answers. Workers join before their first start, as a daemon that joins has to start anew.

        Raises `DemoFailed`, and what the daemons refuse with."""
        self.control.start()
        say("The control plane starts.")
        from modelgrid.cli.cluster_join import join_without_daemon  # noqa: PLC0415  is loaded while that starts

        await until(f"{self.control.plan.name} answers", self.control.answers)
        with self.control.client() as client:
            say(f"Its console answers at {self.control.console_url}. Two workers join it and start.")
            for worker in self.workers:
                invitation = client.invite_node()
                session = Session(config_path=worker.config_path, state_dir=worker.state_dir)
                await join_without_daemon(session, invitation["url"], invitation["token"])
                worker.start()
            password = f"demo-{secrets.token_urlsafe(9)}"
            client.set_password("admin", {"password": password})
            key = client.generate_api_key({"label": "demo"})["secret"]
            for model, body in {**RUNNING, **OTHERS}.items():
                client.put_target(model, body)
            await until("the workers were heard", lambda: self._all_ready(client))
            say("All nodes were heard, and engines load.")
            await until("a model answers", lambda: self._any_answers(key))
        return Opened(password=password, key=key)

    def _all_ready(self, client: ModelGridClient) -> bool:
        ready = {node["name"] for node in client.list_nodes()["items"] if node["liveness"] == "ready" and node["gpus"]}
        return {node.plan.name for node in self.nodes} <= ready

    def _any_answers(self, key: str) -> bool:
        body = {"model": next(iter(RUNNING)), "prompt": "Hello", "max_tokens": 1}
        headers = {"Authorization": f"Bearer {key}"}
        try:
            answer = httpx.post(
                f"{self.control.api_url}/completions", headers=headers, json=body, timeout=5.0, trust_env=False
            )
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    async def watch(self) -> None:
        """Return never; raise `DemoFailed` when a daemon ends by itself."""
        while True:
            for node in self.nodes:
                node.check()
            await asyncio.sleep(1.0)

    async def flap(self, say: Callable[[str], None]) -> None:
        """Let one worker fall silent and come back, again and again."""
        node = next(item for item in self.nodes if item.plan.name == FLAPPING)
        while True:
            await asyncio.sleep(BACK_SECONDS)
            say(f"{FLAPPING} falls silent for {AWAY_SECONDS:g} s.")
            node.hold()
            await asyncio.sleep(AWAY_SECONDS)
            say(f"{FLAPPING} is back.")
            node.release()

    def close(self) -> None:
        """End every process and remove the folder. Blocks for some seconds."""
        try:
            for node in self.nodes:
                node.ask_to_end()
            for node in self.nodes:
                node.end()
        finally:
            shutil.rmtree(self.folder)

    def described(self) -> Iterator[dict[str, object]]:
        """Yield where each node answers."""
        for node in self.nodes:
            yield {
                "name": node.plan.name,
                "role": node.plan.role,
                "console": node.console_url,
                "api": node.api_url,
                "gpus": list(node.plan.gpus),
                "state_dir": str(node.state_dir),
                "config": str(node.config_path),
            }


async def until(what: str, holds: Callable[[], T]) -> T:
    """Return the first true answer of `holds`. Raises `DemoFailed` after `START_SECONDS`."""
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while not (answer := holds()):
        if asyncio.get_running_loop().time() > deadline:
            raise DemoFailed(f"Not within {START_SECONDS:g} s: {what}.", fix="Try again when the machine does less.")
        await asyncio.sleep(POLL_SECONDS)
    return answer
