"""What may happen to a container engine under us. A real engine, with a socket of ours in front where it must hang."""

import asyncio
import io
import itertools
import os
import random
import sys
import tarfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from runtime_stage import IMAGE, SOCKETS, Stage, get, stage, until, unusable

from modelgrid.adapters.mounts import check_mounts
from modelgrid.adapters.runtime_docker.container import container_config, container_name
from modelgrid.adapters.runtime_docker.pull import PullMeter
from modelgrid.adapters.runtime_docker.runtime import DockerRuntime
from modelgrid.adapters.runtime_docker.sockets import container_sockets
from modelgrid.domain.engine import EngineLaunch, EngineRef, EngineState, PullProgress
from modelgrid.domain.errors import LaunchRefused, RuntimeUnavailable
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.target import RuntimeKind

REGISTRY = IMAGE.split("/", 1)[0]


@pytest.fixture(params=[RuntimeKind.DOCKER, RuntimeKind.PODMAN], ids=lambda kind: kind.value)
async def theatre(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    if reason := await unusable(request.param):
        pytest.skip(f"{request.param}: {reason}")
    async with stage(request.param, tmp_path) as made:
        yield made


class Proxy:
    """A Unix socket in front of the engine's. Frozen, it takes connections and bytes and passes nothing on."""

    def __init__(self, upstream: str, path: Path) -> None:
        self.upstream = upstream
        self.path = str(path)
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Proxy":
        self.server = await asyncio.start_unix_server(self._connected, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(self.upstream)
            try:
                with suppress(asyncio.CancelledError):
                    await asyncio.gather(self._pass(reader, up_writer), self._pass(up_reader, writer))
            finally:
                up_writer.close()
        finally:
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self.flowing.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


class LoopLag:
    """The longest time that the event loop did not get to run, in seconds."""

    async def __aenter__(self) -> "LoopLag":
        self.worst = 0.0
        self.task = asyncio.create_task(self._measure())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})

    async def _measure(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            self.worst = max(self.worst, time.monotonic() - before - 0.005)


@pytest.mark.engines
async def test_a_hung_engine_is_unknown_and_nothing_is_restarted(theatre: Stage, tmp_path: Path) -> None:
    direct = theatre.runtime()
    launch = theatre.launch()
    ref = await theatre.started(direct, launch)
    pids = await get(ref, "/pids")
    async with Proxy(SOCKETS[theatre.kind], tmp_path / "proxy.sock") as proxy:
        runtime = DockerRuntime(
            theatre.kind, proxy.path, theatre.owner, [tmp_path], "", call_seconds=2, check_seconds=0.5
        )
        assert (await runtime.inspect(ref)).state is EngineState.RUNNING
        waiting = asyncio.create_task(runtime.wait(ref))
        await asyncio.sleep(0.1)
        proxy.flowing.clear()
        async with LoopLag() as lag:
            began = time.monotonic()
            statuses = await asyncio.gather(*(runtime.inspect(ref) for _ in range(20)))
            assert {status.state for status in statuses} == {EngineState.UNKNOWN}
            assert time.monotonic() - began < 4
            with pytest.raises(RuntimeUnavailable):
                await asyncio.wait_for(waiting, 5)
            for call in (runtime.start(launch), runtime.find(), runtime.sweep(keep=()), runtime.remove(ref)):
                with pytest.raises(RuntimeUnavailable):
                    await asyncio.wait_for(call, 5)
            health = await runtime.health()
            assert not health.available
            assert "does not answer" in health.problem
        print(f"loop lag while the engine hung: {lag.worst * 1000:.0f} ms")
        assert lag.worst <= 0.1
        proxy.flowing.set()
        assert (await runtime.inspect(ref)).state is EngineState.RUNNING
        assert await runtime.start(launch) == ref
        await runtime.close()
    assert await get(ref, "/pids") == pids


@pytest.mark.engines
async def test_an_engine_that_went_away_is_unknown(theatre: Stage, tmp_path: Path) -> None:
    ref = await theatre.started(theatre.runtime(), theatre.launch())
    async with Proxy(SOCKETS[theatre.kind], tmp_path / "proxy.sock") as proxy:
        runtime = DockerRuntime(theatre.kind, proxy.path, theatre.owner, [tmp_path], "", check_seconds=0.5)
        assert (await runtime.inspect(ref)).state is EngineState.RUNNING
        waiting = asyncio.create_task(runtime.wait(ref))
        followed: list[str] = []

        async def follow() -> None:
            async for line in runtime.logs(ref, follow=True):
                followed.append(line.text)

        following = asyncio.create_task(follow())

        async def flowing() -> bool:
            return bool(followed)

        await until(flowing, "the log flows")
    os.unlink(proxy.path)  # noqa: PTH108
    for task in (waiting, following):
        with pytest.raises(RuntimeUnavailable):
            await asyncio.wait_for(task, 5)
    assert followed
    assert (await runtime.inspect(ref)).state is EngineState.UNKNOWN
    await runtime.close()


async def test_no_engine_says_how_to_get_one(tmp_path: Path) -> None:
    runtime = DockerRuntime(RuntimeKind.DOCKER, str(tmp_path / "none.sock"), "owner", [], "")
    health = await runtime.health()
    assert not health.available
    assert "none.sock" in health.problem
    assert "Install Docker" in health.fix
    ref = EngineRef(runtime=RuntimeKind.DOCKER, id="x", deployment=DeploymentId("x"), attempt=1, url="")
    assert (await runtime.inspect(ref)).state is EngineState.UNKNOWN
    for call in (runtime.wait(ref), runtime.stop(ref, 1), runtime.remove(ref), runtime.find()):
        with pytest.raises(RuntimeUnavailable):
            await call
    with pytest.raises(RuntimeUnavailable):
        _ = [line async for line in runtime.logs(ref)]
    await runtime.close()


@pytest.mark.engines
async def test_a_crash_between_create_and_start_is_finished_by_the_next_start(theatre: Stage) -> None:
    runtime = theatre.runtime()
    assert isinstance(runtime, DockerRuntime)
    launch = theatre.launch()
    mounts = check_mounts(launch.mounts, [Path("/")])
    config = container_config(launch, mounts, theatre.owner, theatre.kind, "")
    await runtime._api.call(
        "create", lambda docker: docker.containers.create(config, name=container_name(launch.deployment))
    )
    (found,) = await runtime.find()
    status = await runtime.inspect(found)
    assert status.state is EngineState.EXITED
    assert status.exit is not None
    assert status.exit.code is None
    assert await theatre.started(runtime, launch) == found


@pytest.mark.engines
async def test_a_port_in_use_is_refused_and_leaves_no_container(theatre: Stage) -> None:
    runtime = theatre.runtime()
    first = await theatre.started(runtime, theatre.launch())
    other = replace(theatre.launch(name="other"), port=int(first.url.rsplit(":", 1)[1]))
    with pytest.raises(LaunchRefused) as refused:
        await runtime.start(other)
    assert "in use" in refused.value.message or "allocated" in refused.value.message
    assert refused.value.fix
    assert "s3cr3t-value" not in str(refused.value)
    assert await runtime.find() == (first,)


@pytest.mark.engines
async def test_a_container_of_somebody_else_is_not_taken_over(theatre: Stage) -> None:
    stranger = theatre.runtime(owner="somebody-else")
    launch = theatre.launch()
    foreign = await stranger.start(launch)
    try:
        with pytest.raises(LaunchRefused, match="belongs to somebody else"):
            await theatre.runtime().start(launch)
        assert (await stranger.inspect(foreign)).state is EngineState.RUNNING
    finally:
        await stranger.sweep(keep=())


# Pulls ---------------------------------------------------------------------------------------------------


async def engine_call(kind: RuntimeKind, method: str, path: str, **more: object) -> httpx.Response:
    transport = httpx.AsyncHTTPTransport(uds=SOCKETS[kind])
    async with httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=60) as client:
        return await client.request(method, path, **more)  # type: ignore[arg-type]


@pytest.fixture
async def pushed(theatre: Stage) -> AsyncIterator[str]:
    """An image of one layer of 24 MB of noise in the registry, not known to the engine."""
    name = f"{REGISTRY}/modelgrid-test/pull-{os.getpid()}-{theatre.owner[-6:]}"
    content = random.Random(7).randbytes(24 * 1024**2)
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        info = tarfile.TarInfo("noise")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    # Pushed by Docker also for Podman, whose push insists on TLS.
    if reason := await unusable(RuntimeKind.DOCKER):
        pytest.skip(f"nothing to push with: {reason}")
    params = {"fromSrc": "-", "repo": name, "tag": "1"}
    kind, tar = RuntimeKind.DOCKER, {"Content-Type": "application/x-tar"}
    made = await engine_call(kind, "POST", "/v1.41/images/create", params=params, content=layer.getvalue(), headers=tar)
    assert made.status_code == 200, made.text
    push = await engine_call(kind, "POST", f"/v1.41/images/{name}/push?tag=1", headers={"X-Registry-Auth": "e30="})
    assert "errorDetail" not in push.text, push.text
    await engine_call(kind, "DELETE", f"/v1.41/images/{name}:1")
    yield f"{name}:1"
    await engine_call(theatre.kind, "DELETE", f"/v1.41/images/{name}:1")


def to_pull(image: str) -> EngineLaunch:
    return EngineLaunch(deployment=DeploymentId("pull"), attempt=1, argv=(), image=image, port=1)


@pytest.mark.engines
async def test_a_pull_reports_layers_and_bytes_at_a_bounded_rate(theatre: Stage, pushed: str) -> None:
    runtime = theatre.runtime()
    reports: list[tuple[float, PullProgress]] = []
    await runtime.prepare(to_pull(pushed), lambda report: reports.append((time.monotonic(), report)))
    assert reports
    last = reports[-1][1]
    assert last.image == pushed
    assert last.layers
    assert {layer.status for layer in last.layers} <= {"Pull complete", "Download complete", "Already exists"}
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(reports)]
    assert all(gap >= 0.099 for gap in gaps), gaps
    if theatre.kind is RuntimeKind.DOCKER:
        assert last.done_bytes >= 24 * 1024**2
    done = [report.done_bytes for _, report in reports]
    assert done == sorted(done)
    reports.clear()
    await runtime.prepare(to_pull(pushed), lambda report: reports.append((0, report)))
    assert reports == []


@pytest.mark.engines
async def test_a_cancelled_pull_leaves_nothing(theatre: Stage, pushed: str) -> None:
    if theatre.kind is RuntimeKind.PODMAN:
        pytest.skip("Podman 4.3 was seen to finish a small pull although nobody listens any more")
    runtime = theatre.runtime()
    begun = asyncio.Event()
    pulling = asyncio.create_task(runtime.prepare(to_pull(pushed), lambda _: begun.set()))
    await asyncio.wait_for(begun.wait(), 20)
    pulling.cancel()
    with suppress(asyncio.CancelledError):
        await pulling
    assert pulling.cancelled()
    for _ in range(20):
        await asyncio.sleep(0.05)
        assert (await engine_call(theatre.kind, "GET", f"/v1.41/images/{pushed}/json")).status_code == 404


@pytest.mark.engines
@pytest.mark.parametrize("image", [f"{REGISTRY}/modelgrid-test/absent:1", "127.0.0.1:5001/x:1"])
async def test_a_pull_that_fails_carries_the_registrys_words(theatre: Stage, image: str) -> None:
    with pytest.raises(LaunchRefused) as refused:
        await theatre.runtime().prepare(to_pull(image), lambda _: None)
    print(refused.value)
    assert image in refused.value.message
    words = refused.value.message.lower()
    assert any(word in words for word in ("not found", "unknown", "refused", "invalid status", "does not exist"))
    assert refused.value.fix


def test_the_meter_never_counts_backwards() -> None:
    reports: list[PullProgress] = []
    meter = PullMeter("x:1", reports.append)
    for message in (
        {"status": "Pulling from x", "id": "1"},
        {"status": "Pulling fs layer", "id": "a", "progressDetail": {}},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 10, "total": 100}},
        {"status": "Already exists", "id": "b"},
        {"status": "Download complete", "id": "a"},
        {"status": "Extracting", "id": "a", "progressDetail": {"current": 1, "total": 100}},
        {"status": "Digest: sha256:0"},
    ):
        meter.message(message)
    meter.report()
    last = reports[-1]
    assert [(layer.id, layer.status, layer.done_bytes) for layer in last.layers] == [
        ("a", "Extracting", 100),
        ("b", "Already exists", 0),
    ]
    assert (last.done_bytes, last.total_bytes) == (100, 100)


async def test_the_meter_tells_the_last_before_a_silence() -> None:
    reports: list[PullProgress] = []
    meter = PullMeter("x:1", reports.append)
    telling = asyncio.create_task(meter.report_the_rest())
    meter.message({"status": "Already exists", "id": "a"})
    meter.message({"status": "Downloading", "id": "b", "progressDetail": {"current": 10, "total": 100}})
    assert [report.done_bytes for report in reports] == [0], "the second came too soon after the first"

    async def told() -> bool:
        return len(reports) > 1

    await until(told, "the second is told although nothing follows", 5)
    assert reports[-1].done_bytes == 10
    telling.cancel()


def test_sockets_are_tried_in_order() -> None:
    environ = {"DOCKER_HOST": "unix:///a.sock", "XDG_RUNTIME_DIR": "/run/user/1"}
    assert container_sockets(None, RuntimeKind.DOCKER, environ) == (
        (RuntimeKind.DOCKER, "/a.sock"),
        (RuntimeKind.DOCKER, "/var/run/docker.sock"),
        (RuntimeKind.DOCKER, "/run/user/1/docker.sock"),
    )
    assert container_sockets(None, None, {"DOCKER_HOST": "tcp://1.2.3.4:2375"}) == (
        (RuntimeKind.DOCKER, "/var/run/docker.sock"),
        (RuntimeKind.PODMAN, "/run/podman/podman.sock"),
    )
    assert container_sockets("unix:///x.sock", RuntimeKind.PODMAN, environ) == ((RuntimeKind.PODMAN, "/x.sock"),)
