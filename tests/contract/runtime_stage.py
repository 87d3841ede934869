"""What the runtime tests need around a runtime: a stage per kind that makes clients of it, launches and checks."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from tests.ports import free_port

from modelgrid.adapters.runtime_docker.runtime import DockerRuntime
from modelgrid.adapters.runtime_process import procfs
from modelgrid.adapters.runtime_process.runtime import ProcessRuntime
from modelgrid.domain.engine import EngineLaunch, EngineRef, EngineState
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.target import Mount, RuntimeKind
from modelgrid.ports.runtime import Runtime

ENGINE = Path(__file__).with_name("runtime_engine.py")
IMAGE = os.environ.get("MODELGRID_TEST_ENGINE_IMAGE", "127.0.0.1:5000/modelgrid-test/python:1")
SOCKETS = {
    RuntimeKind.DOCKER: os.environ.get("MODELGRID_TEST_DOCKER_SOCKET", "/var/run/docker.sock"),
    RuntimeKind.PODMAN: os.environ.get("MODELGRID_TEST_PODMAN_SOCKET", "/run/podman/podman.sock"),
}
NETWORK = "modelgrid-test"


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 20.0) -> None:
    """Return when `condition` holds; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


async def get(ref: EngineRef, path: str) -> str:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        answer = await client.get(f"{ref.url}{path}")
        answer.raise_for_status()
        return answer.text


@dataclass
class Stage:
    """Makes runtimes of one kind over one state. Two clients of a stage are a daemon before and after a restart."""

    kind: RuntimeKind
    folder: Path
    owner: str
    runtimes: list[Runtime] = field(default_factory=list)

    @property
    def contained(self) -> bool:
        return self.kind in SOCKETS

    def runtime(self, owner: str = "") -> Runtime:
        made: Runtime
        if self.contained:
            made = DockerRuntime(
                self.kind, SOCKETS[self.kind], owner or self.owner, [ENGINE.parent, self.folder], NETWORK
            )
        else:
            made = ProcessRuntime(self.kind, self.folder / "engines", owner or self.owner, log_bytes=64 * 1024)
        self.runtimes.append(made)
        return made

    def launch(self, *arguments: str, name: str = "tiny", attempt: int = 1, **more: object) -> EngineLaunch:
        port = free_port()
        if self.contained:
            argv = ("python3", "/engine/runtime_engine.py", "--host", "0.0.0.0", "--port", "8000", *arguments)
        else:
            argv = (sys.executable, str(ENGINE), "--port", str(port), *arguments)
        fields: dict[str, object] = {
            "deployment": DeploymentId(f"{name}-{self.owner[-6:]}"),
            "attempt": attempt,
            "argv": argv,
            "env": {"SECRET_OF_TEST": "s3cr3t-value"},
            "image": IMAGE if self.contained else "",
            "port": port,
            "mounts": (Mount(source=str(ENGINE.parent), target="/engine"),) if self.contained else (),
            "shm_bytes": 64 * 1024**2,
            **more,
        }
        return EngineLaunch(**fields)  # type: ignore[arg-type]

    async def started(self, runtime: Runtime, launch: EngineLaunch) -> EngineRef:
        """Start and wait until it answers, as readiness does."""
        ref = await runtime.start(launch)

        async def answers() -> bool:
            try:
                return await get(ref, "/health") == "ok"
            except httpx.HTTPError:
                status = await runtime.inspect(ref)
                lines = [line.text async for line in runtime.logs(ref, tail=20)]
                assert status.state is EngineState.RUNNING, (status, lines)
                return False

        await until(answers, "the engine answers")
        return ref

    async def kill_hard(self, runtime: Runtime, ref: EngineRef) -> None:
        """kill -9 of the engine's main process, from outside."""
        if self.contained:
            pids = (await runtime.stats(ref)).pids
            os.kill(pids[0], 9)
        else:
            os.kill(int(ref.id.split(":")[0]), 9)

    async def clear(self) -> None:
        last = self.runtime()
        await last.sweep(keep=())
        for runtime in self.runtimes:
            await runtime.close()


@asynccontextmanager
async def stage(kind: RuntimeKind, folder: Path) -> AsyncIterator[Stage]:
    made = Stage(kind, folder, f"test-{os.getpid()}-{time.monotonic_ns() % 36**6:06x}"[:40])
    try:
        yield made
    finally:
        await made.clear()


async def unusable(kind: RuntimeKind) -> str:
    """Return why containers of this kind cannot be tested here; empty when they can."""
    path = SOCKETS.get(kind)
    if path is None:
        return ""
    probe = DockerRuntime(kind, path, "probe", [], "")
    try:
        health = await probe.health()
        if not health.available:
            return health.problem
        launch = EngineLaunch(deployment=DeploymentId("probe"), attempt=1, argv=(), image=IMAGE, port=1)
        await probe.prepare(launch, lambda _: None)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is the reason to skip)
        return str(error)
    finally:
        await probe.close()
    return ""


def running(pid: int) -> bool:
    stat = procfs.read_stat(pid)
    return stat is not None and stat.running
