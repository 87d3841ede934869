"""One contract for every runtime that starts engines. Real processes, real containers, a real HTTP server in them."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from runtime_stage import Stage, get, running, stage, until, unusable

from modelgrid.adapters.runtime_external.runtime import ExternalRuntime
from modelgrid.domain.engine import EngineLaunch, EngineRef, EngineState, LogLine
from modelgrid.domain.errors import Conflict, InvalidInput, LaunchRefused, RuntimeUnavailable
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.target import RuntimeKind

KINDS = [
    RuntimeKind.PROCESS,
    RuntimeKind.SIMULATED,
    pytest.param(RuntimeKind.DOCKER, marks=pytest.mark.engines),
    pytest.param(RuntimeKind.PODMAN, marks=pytest.mark.engines),
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.value)
async def theatre(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    kind: RuntimeKind = request.param
    if reason := await unusable(kind):
        pytest.skip(f"{kind}: {reason}")
    async with stage(kind, tmp_path) as made:
        yield made


async def texts(runtime: object, ref: object, **options: object) -> list[str]:
    return [line.text async for line in runtime.logs(ref, **options)]  # type: ignore[attr-defined]


async def test_health_says_available(theatre: Stage) -> None:
    health = await theatre.runtime().health()
    assert health.available, health
    assert health.kind is theatre.kind


async def test_a_started_engine_runs_and_answers(theatre: Stage) -> None:
    runtime = theatre.runtime()
    launch = theatre.launch()
    reports: list[object] = []
    await runtime.prepare(launch, reports.append)
    before = time.time()
    ref = await theatre.started(runtime, launch)
    assert (ref.deployment, ref.attempt, ref.runtime) == (launch.deployment, 1, theatre.kind)
    assert ref.url == f"http://127.0.0.1:{launch.port}"
    status = await runtime.inspect(ref)
    assert status.state is EngineState.RUNNING
    assert status.exit is None
    assert status.started_at is not None
    assert before - 5 < status.started_at < time.time() + 5
    assert await get(ref, "/env?name=SECRET_OF_TEST") == "s3cr3t-value"
    assert await runtime.find() == (ref,)


async def test_starting_again_adopts(theatre: Stage) -> None:
    runtime = theatre.runtime()
    launch = theatre.launch()
    ref = await theatre.started(runtime, launch)
    pids = await get(ref, "/pids")
    assert await runtime.start(launch) == ref
    assert await get(ref, "/pids") == pids


async def test_a_restarted_daemon_adopts_and_still_learns_the_end(theatre: Stage) -> None:
    before = theatre.runtime()
    launch = theatre.launch()
    ref = await theatre.started(before, launch)
    await before.close()
    after = theatre.runtime()
    assert await after.find() == (ref,)
    assert await after.start(launch) == ref
    waiting = asyncio.create_task(after.wait(ref))
    await get(ref, "/exit?code=3")
    ended = await asyncio.wait_for(waiting, 10)
    assert ended is not None
    assert (ended.code, ended.signal) == (3, None)


async def test_an_attempt_that_ended_is_not_started_again(theatre: Stage) -> None:
    runtime = theatre.runtime()
    launch = theatre.launch("--exit-code", "4")
    ref = await runtime.start(launch)
    ended = await asyncio.wait_for(runtime.wait(ref), 20)
    assert ended is not None
    assert ended.code == 4
    assert await runtime.start(launch) == ref
    status = await runtime.inspect(ref)
    assert status.state is EngineState.EXITED
    assert status.exit is not None
    assert status.exit.code == 4
    assert abs(status.exit.at - time.time()) < 30


async def test_concurrent_starts_make_one_engine(theatre: Stage) -> None:
    launch = theatre.launch()
    clients = [theatre.runtime(), theatre.runtime()]
    refs = await asyncio.gather(*(clients[number % 2].start(launch) for number in range(6)))
    assert len(set(refs)) == 1
    assert await clients[0].find() == (refs[0],)


async def test_a_newer_attempt_replaces_the_older(theatre: Stage) -> None:
    runtime = theatre.runtime()
    first = theatre.launch("--ignore-term") if not theatre.contained else theatre.launch()
    old = await theatre.started(runtime, first)
    second = replace(theatre.launch(), attempt=2)
    new = await theatre.started(runtime, second)
    assert new.attempt == 2
    assert (await runtime.inspect(old)).state is EngineState.GONE
    assert await runtime.wait(old) is None
    assert await runtime.find() == (new,)
    with pytest.raises(LaunchRefused):
        await runtime.start(first)
    await runtime.stop(old, 1)
    await runtime.remove(old)
    assert (await runtime.inspect(new)).state is EngineState.RUNNING


async def test_kill_9_is_noticed_within_a_second(theatre: Stage) -> None:
    runtime = theatre.runtime()
    ref = await theatre.started(runtime, theatre.launch("--children", "1"))
    waiting = asyncio.create_task(runtime.wait(ref))
    pids = (await runtime.stats(ref)).pids
    await asyncio.sleep(0)
    killed = time.monotonic()
    await theatre.kill_hard(runtime, ref)
    ended = await asyncio.wait_for(waiting, 10)
    took = time.monotonic() - killed
    assert ended is not None
    assert ended.signal == signal.SIGKILL
    assert not ended.out_of_memory
    assert took <= 1.0 or theatre.contained, took
    assert took <= 3.0, took
    assert not any(running(pid) for pid in pids)


async def test_stop_is_asked_for_first(theatre: Stage) -> None:
    runtime = theatre.runtime()
    ref = await theatre.started(runtime, theatre.launch())
    began = time.monotonic()
    await runtime.stop(ref, 20)
    assert time.monotonic() - began < 10
    status = await runtime.inspect(ref)
    assert status.state is EngineState.EXITED
    assert status.exit is not None
    assert status.exit.code == 0, status
    await runtime.stop(ref, 20)


async def test_stop_kills_the_whole_group_after_the_grace(theatre: Stage) -> None:
    runtime = theatre.runtime()
    ref = await theatre.started(runtime, theatre.launch("--ignore-term", "--children", "2", "--strays", "1"))
    pids = (await runtime.stats(ref)).pids
    assert len(pids) >= 4
    began = time.monotonic()
    await runtime.stop(ref, 1)
    took = time.monotonic() - began
    assert 0.9 <= took < 8, took
    assert not [pid for pid in pids if running(pid)]
    assert (await runtime.inspect(ref)).state is EngineState.EXITED


async def test_stop_with_no_grace_kills_at_once(theatre: Stage) -> None:
    runtime = theatre.runtime()
    ref = await theatre.started(runtime, theatre.launch("--ignore-term"))
    await asyncio.wait_for(runtime.stop(ref, 0), 5)
    assert (await runtime.inspect(ref)).state is EngineState.EXITED


async def test_wait_returns_when_stopped_by_another_client(theatre: Stage) -> None:
    runtime, other = theatre.runtime(), theatre.runtime()
    ref = await theatre.started(runtime, theatre.launch())
    waiting = asyncio.create_task(runtime.wait(ref))
    await other.stop(ref, 5)
    ended = await asyncio.wait_for(waiting, 5)
    assert ended is not None


async def test_remove_leaves_nothing_and_may_be_repeated(theatre: Stage) -> None:
    runtime = theatre.runtime()
    launch = theatre.launch()
    ref = await theatre.started(runtime, launch)
    with pytest.raises(Conflict):
        await runtime.remove(ref)
    await runtime.stop(ref, 5)
    await runtime.remove(ref)
    await runtime.remove(ref)
    await runtime.stop(ref, 5)
    assert (await runtime.inspect(ref)).state is EngineState.GONE
    assert await runtime.wait(ref) is None
    assert await runtime.find() == ()
    assert await texts(runtime, ref) == []
    if not theatre.contained:
        assert list((theatre.folder / "engines").iterdir()) == []


async def test_logs_tail_and_streams(theatre: Stage) -> None:
    runtime = theatre.runtime()
    ref = await theatre.started(runtime, theatre.launch("--lines", "50"))
    lines: list[LogLine] = []

    async def all_written() -> bool:
        lines[:] = [line async for line in runtime.logs(ref)]
        return len(lines) >= 52

    await until(all_written, "what the engine said has been written")
    assert {(line.stream, line.text) for line in lines} >= {("stdout", "engine starts"), ("stderr", "a warning")}
    assert all(abs(line.at - time.time()) < 60 for line in lines)
    # Standard output and error are two pipes: only within each of them the order is the engine's.
    assert [line.text for line in lines if line.stream == "stdout"][1:] == [f"line {n}" for n in range(50)]
    assert await texts(runtime, ref, tail=3) == [line.text for line in lines[-3:]]
    assert await texts(runtime, ref, tail=0) == []


async def test_followed_logs_bring_each_line_once_and_end_with_the_engine(theatre: Stage) -> None:
    runtime = theatre.runtime()
    ref = await theatre.started(runtime, theatre.launch())
    seen: list[str] = []

    async def follow() -> None:
        async for line in runtime.logs(ref, tail=1, follow=True):
            seen.append(line.text)

    following = asyncio.create_task(follow())

    async def begun() -> bool:
        return bool(seen)

    await until(begun, "the tail arrives")
    for part in range(5):
        await get(ref, f"/say?n=400&text=part{part}")
    await get(ref, "/exit?code=0")
    await asyncio.wait_for(following, 20)
    said = [text for text in seen if text.startswith("part")]
    assert said == [f"part{part} {number}" for part in range(5) for number in range(400)]


async def test_stats_tell_the_pids_and_the_memory(theatre: Stage) -> None:
    runtime = theatre.runtime()
    ref = await theatre.started(runtime, theatre.launch("--children", "1"))
    stats = await runtime.stats(ref)
    assert stats.memory_bytes is not None
    assert 1024**2 < stats.memory_bytes < 1024**3
    if not theatre.contained:
        assert set(stats.pids) == {int(pid) for pid in (await get(ref, "/pids")).split()}
    else:
        assert len(stats.pids) >= 2
    await get(ref, "/say?n=1000")
    again = await runtime.stats(ref)
    assert again.cpu_percent is not None
    assert 0 <= again.cpu_percent < 10_000
    await runtime.stop(ref, 2)
    assert (await runtime.stats(ref)).pids == ()


async def test_sweep_takes_only_what_is_ours_and_not_kept(theatre: Stage) -> None:
    runtime = theatre.runtime()
    kept = await runtime.start(theatre.launch(name="kept"))
    orphan = await runtime.start(theatre.launch(name="orphan"))
    stranger = theatre.runtime(owner="stranger-" + theatre.owner[-6:])
    foreign = await stranger.start(theatre.launch(name="foreign"))
    try:
        assert await runtime.sweep(keep=[kept.deployment]) == (orphan,)
        assert await runtime.find() == (kept,)
        assert await stranger.find() == (foreign,)
        assert (await stranger.inspect(foreign)).state is EngineState.RUNNING
        assert await runtime.sweep(keep=[kept.deployment]) == ()
    finally:
        await stranger.sweep(keep=())


async def test_a_program_that_is_not_there_is_told(theatre: Stage) -> None:
    runtime = theatre.runtime()
    launch = replace(theatre.launch(), argv=("/no/such/program",))
    if theatre.contained:
        # Only the container's init can know, and it says so in the log: tini ends with 127, catatonit with 1.
        ref = await runtime.start(launch)
        ended = await asyncio.wait_for(runtime.wait(ref), 20)
        assert ended is not None
        assert ended.code in {1, 127}
        assert any("No such file" in text for text in await texts(runtime, ref))
        return
    with pytest.raises(LaunchRefused, match="was not found"):
        await runtime.prepare(launch, lambda _: None)
    with pytest.raises(LaunchRefused, match="No such file"):
        await runtime.start(launch)
    assert await runtime.find() == ()
    assert not any((theatre.folder / "engines").iterdir())


@pytest.mark.parametrize("name", ["../escape", "a/b", "-x", "", "A", "a" * 70, "a.b", "a\nb"])
async def test_ids_that_are_none_are_refused(theatre: Stage, name: str) -> None:
    runtime = theatre.runtime()
    launch = replace(theatre.launch(), deployment=DeploymentId(name))
    for call in (runtime.prepare(launch, lambda _: None), runtime.start(launch)):
        with pytest.raises(InvalidInput):
            await call
    assert await runtime.find() == ()


async def test_what_no_system_call_carries_is_refused(theatre: Stage) -> None:
    runtime = theatre.runtime()
    launch = theatre.launch()
    for bad in (
        replace(launch, argv=(*launch.argv, "nul\0byte")),
        replace(launch, env={"NAME": "nul\0byte"}),
        replace(launch, env={"A=B": "x"}),
        replace(launch, env={"": "x"}),
    ):
        with pytest.raises(InvalidInput):
            await runtime.start(bad)


async def test_cycles_leak_nothing(theatre: Stage) -> None:
    if theatre.kind is RuntimeKind.SIMULATED:
        pytest.skip("the same class as `process`, which is counted")
    runtime, launch = theatre.runtime(), theatre.launch()  # one port for all of them: a claimed one costs a descriptor

    async def cycle() -> None:
        ref = await theatre.started(runtime, launch)
        waiting = asyncio.create_task(runtime.wait(ref))
        await texts(runtime, ref)
        await runtime.stop(ref, 1)
        await waiting
        await runtime.remove(ref)

    def held() -> tuple[int, int, int]:
        fds, threads = (sum(1 for _ in Path(f"/proc/self/{what}").iterdir()) for what in ("fd", "task"))
        return fds, threads, len(asyncio.all_tasks())

    await cycle()
    before = held()
    for _ in range(3 if theatre.contained else 50):
        await cycle()
    after = held()
    print(f"{theatre.kind}: descriptors, threads, tasks {before} -> {after}")
    assert after[0] - before[0] <= 2, (before, after)
    assert after[1] - before[1] <= 2, (before, after)
    assert after[2] == before[2], (before, after)


# External: attach only -----------------------------------------------------------------------------------


@pytest.fixture
async def external() -> AsyncIterator[ExternalRuntime]:
    runtime = ExternalRuntime(probe_seconds=0.5, poll_seconds=0.05)
    yield runtime
    await runtime.close()


def attach(url: str | None) -> EngineLaunch:
    return EngineLaunch(deployment=DeploymentId("attached"), attempt=1, argv=(), port=0, url=url)


async def test_external_attaches_to_what_runs_and_notices_its_end(external: ExternalRuntime, tmp_path: Path) -> None:
    async with stage(RuntimeKind.PROCESS, tmp_path) as theatre:
        host = theatre.runtime()
        engine = await theatre.started(host, theatre.launch())
        launch = attach(f"{engine.url}/v1/")
        ref = await external.start(launch)
        assert ref == await external.start(launch)
        assert (ref.url, ref.id, ref.runtime) == (engine.url, engine.url, RuntimeKind.EXTERNAL)
        assert (await external.inspect(ref)).state is EngineState.RUNNING
        await external.stop(ref, 1)
        await external.remove(ref)
        assert await external.sweep(keep=()) == ()
        assert (await external.inspect(ref)).state is EngineState.RUNNING
        assert [line async for line in external.logs(ref)] == []
        assert (await external.stats(ref)).pids == ()
        waiting = asyncio.create_task(external.wait(ref))
        await host.stop(engine, 2)
        ended = await asyncio.wait_for(waiting, 5)
        assert ended is not None
        assert "refused" in ended.error
        assert (await external.inspect(ref)).state is EngineState.EXITED
        with pytest.raises(LaunchRefused, match="refused"):
            await external.start(launch)


async def answering(external: ExternalRuntime, head: bytes | None) -> tuple[EngineState, Exception | None]:
    """Probe a server that answers every request with `head`; `None`: never."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if head is None:
            await reader.read()
        else:
            writer.write(b"HTTP/1.1 " + head + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ref = EngineRef(runtime=RuntimeKind.EXTERNAL, id=url, deployment=DeploymentId("x"), attempt=1, url=url)
        state = (await external.inspect(ref)).state
        try:
            await external.start(attach(url))
        except (LaunchRefused, RuntimeUnavailable) as error:
            return state, error
        return state, None


@pytest.mark.parametrize(
    ("head", "state", "error"),
    [
        (b"200 OK", EngineState.RUNNING, None),
        (b"401 Unauthorized", EngineState.RUNNING, None),
        (b"404 Not Found", EngineState.EXITED, LaunchRefused),
        (b"503 Service Unavailable", EngineState.EXITED, LaunchRefused),
        (None, EngineState.UNKNOWN, RuntimeUnavailable),
    ],
)
async def test_external_reads_the_answer(
    external: ExternalRuntime, head: bytes | None, state: EngineState, error: type[Exception] | None
) -> None:
    seen, raised = await answering(external, head)
    assert seen is state
    assert (type(raised) if raised else None) is error


async def test_external_wait_gives_up_on_silence(external: ExternalRuntime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel connects, nobody answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ref = EngineRef(runtime=RuntimeKind.EXTERNAL, id=url, deployment=DeploymentId("x"), attempt=1, url=url)
        with pytest.raises(RuntimeUnavailable):
            await asyncio.wait_for(external.wait(ref), 10)


@pytest.mark.parametrize(
    "url", [None, "", "ftp://x", "http://", "http://h:99999", "http://u:p@h", "http://h/?q=1", "file:///etc", "h:1"]
)
async def test_external_refuses_what_is_no_url(external: ExternalRuntime, url: str | None) -> None:
    with pytest.raises(InvalidInput):
        await external.prepare(attach(url), lambda _: None)
    with pytest.raises(InvalidInput):
        await external.start(attach(url))
