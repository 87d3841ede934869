"""What may happen to engines that are processes, and to their daemon. Real processes, real kills."""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from runtime_stage import Stage, get, running, stage, until

from modelgrid.adapters.runtime_process import files, procfs, records
from modelgrid.adapters.runtime_process.logfile import MAX_LINE_BYTES, LineCutter
from modelgrid.adapters.runtime_process.runtime import ProcessRuntime
from modelgrid.domain.engine import EngineLaunch, EngineRef, EngineState
from modelgrid.domain.errors import StorageFull
from modelgrid.domain.target import RuntimeKind

DAEMON = """
import asyncio, json, sys
from pathlib import Path
from modelgrid.adapters.runtime_process.runtime import ProcessRuntime
from modelgrid.domain.engine import EngineLaunch
from modelgrid.domain.target import RuntimeKind

async def main():
    folder, owner, launch = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    runtime = ProcessRuntime(RuntimeKind.PROCESS, Path(folder), owner)
    print("ready", flush=True)
    ref = await runtime.start(EngineLaunch(**launch))
    print(ref.id, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
async def theatre(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(RuntimeKind.PROCESS, tmp_path) as made:
        yield made


def daemon(theatre: Stage, launch: EngineLaunch) -> subprocess.Popen[str]:
    fields = {
        "deployment": launch.deployment,
        "attempt": launch.attempt,
        "argv": launch.argv,
        "env": dict(launch.env),
        "port": launch.port,
    }
    argv = [sys.executable, "-c", DAEMON, str(theatre.folder / "engines"), theatre.owner, json.dumps(fields)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def engines_of(theatre: Stage, launch: EngineLaunch) -> list[int]:
    """Return every process that was started as this deployment's engine, whoever recorded it."""
    marks = (f"MODELGRID_DEPLOYMENT={launch.deployment}".encode(), f"MODELGRID_OWNER={theatre.owner}".encode())
    return [stat.pid for stat in procfs.marked(marks)]


async def record_of(theatre: Stage, ref: EngineRef) -> records.EngineRecord:
    record = records.read(theatre.folder / "engines", ref.deployment)
    assert record is not None
    return record


async def test_the_engine_outlives_a_killed_daemon_and_its_output_is_kept(theatre: Stage) -> None:
    launch = theatre.launch()
    with daemon(theatre, launch) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        ref_id = process.stdout.readline().strip()
        process.kill()
    runtime = theatre.runtime()
    (ref,) = await runtime.find()
    assert ref.id == ref_id
    assert await theatre.started(runtime, launch) == ref
    await get(ref, "/say?n=2000&text=orphaned")
    assert engines_of(theatre, launch) == [int(ref.id.split(":")[0])]

    async def all_there() -> bool:
        return sum([line.text.startswith("orphaned") async for line in runtime.logs(ref, tail=5000)]) == 2000

    await until(all_there, "what was written without a daemon is in the log")
    await get(ref, "/exit?code=7")
    ended = await asyncio.wait_for(runtime.wait(ref), 5)
    assert ended is not None
    assert ended.code == 7


async def test_a_daemon_killed_at_any_moment_of_the_start_leaves_one_engine_or_none(theatre: Stage) -> None:
    """The daemon is killed 0 to 60 ms into `start` (which takes about 40), then another one starts the same launch."""
    chance = random.Random(20_26)
    left = 0
    for number in range(20):
        launch = theatre.launch(name=f"crash{number}")
        with daemon(theatre, launch) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            await asyncio.sleep(chance.random() * 0.06)
            process.kill()
        runtime = theatre.runtime()
        left += len(await runtime.find())
        ref = await theatre.started(runtime, launch)
        assert engines_of(theatre, launch) == [int(ref.id.split(":")[0])]
        assert [found.deployment for found in await runtime.find()] == [launch.deployment]
        await runtime.stop(ref, 2)
        await runtime.remove(ref)
        assert engines_of(theatre, launch) == []
    print(f"20 daemons killed in start: {left} engines were found at once")


async def test_a_killed_watcher_takes_its_engine_with_it(theatre: Stage) -> None:
    runtime = theatre.runtime()
    launch = theatre.launch("--strays", "1")
    ref = await theatre.started(runtime, launch)
    record = await record_of(theatre, ref)
    waiting = asyncio.create_task(runtime.wait(ref))
    await asyncio.sleep(0)
    os.kill(record.watcher_pid, signal.SIGKILL)
    ended = await asyncio.wait_for(waiting, 5)
    assert ended is not None
    assert "watcher was killed" in ended.error
    assert (ended.code, ended.signal) == (None, None)
    assert not running(record.pid)
    assert (await runtime.inspect(ref)).state is EngineState.EXITED
    assert len(engines_of(theatre, launch)) == 1  # the stray in a session of its own
    await runtime.stop(ref, 1)
    assert engines_of(theatre, launch) == []


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def forge(theatre: Stage, ref: EngineRef, fields: dict[str, object]) -> None:
    path = Path(files.record_path(str(theatre.folder / "engines"), ref.deployment))
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    Path(files.exit_path(str(theatre.folder / "engines"), ref.deployment, 1)).unlink()


def descriptors(pid: int) -> list[str]:
    return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]


def sizes_kb(pid: int) -> dict[str, int]:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in rollup[1:]}


@pytest.mark.parametrize("moved", ["start", "boot"])
async def test_a_recycled_pid_is_neither_taken_for_the_engine_nor_killed(
    theatre: Stage, stranger: subprocess.Popen[bytes], moved: str
) -> None:
    runtime = theatre.runtime()
    ref = await theatre.started(runtime, theatre.launch())
    await runtime.stop(ref, 2)
    stat = procfs.read_stat(stranger.pid)
    assert stat is not None
    # As it looks when both numbers were given to somebody else: later in this boot, or after a reboot at the
    # very same tick.
    start = stat.start - 1 if moved == "start" else stat.start
    forged = {
        "pid": stranger.pid,
        "start": start,
        "watcher_pid": stranger.pid,
        "watcher_start": start,
        "boot_id": procfs.boot_id() if moved == "start" else "00000000-0000-0000-0000-000000000000",
    }
    forge(theatre, ref, forged)
    (ref,) = await runtime.find()
    status = await runtime.inspect(ref)
    assert status.state is EngineState.EXITED
    assert status.exit is not None
    assert status.exit.error == ("the host was restarted" if moved == "boot" else status.exit.error)
    assert await asyncio.wait_for(runtime.wait(ref), 2) is not None
    assert (await runtime.stats(ref)).pids == ()
    await runtime.stop(ref, 1)
    assert await runtime.sweep(keep=()) == (ref,)
    assert stranger.poll() is None


async def test_a_damaged_record_heals_with_the_next_start(theatre: Stage) -> None:
    runtime = theatre.runtime()
    launch = theatre.launch("--ignore-term")
    ref = await theatre.started(runtime, launch)
    damaged = theatre.folder / "engines" / f"{ref.deployment}.json"
    damaged.write_text('{"pid": 1, "atte')
    assert await runtime.find() == ()
    again = await theatre.started(runtime, launch)
    assert again.id != ref.id
    assert engines_of(theatre, launch) == [int(again.id.split(":")[0])]


async def test_logs_rotate_within_their_bound_and_a_follower_misses_nothing(theatre: Stage) -> None:
    runtime = theatre.runtime()  # 64 KiB per file
    ref = await theatre.started(runtime, theatre.launch())
    seen: list[str] = []

    async def follow() -> None:
        async for line in runtime.logs(ref, tail=0, follow=True):
            seen.append(line.text)

    following = asyncio.create_task(follow())

    async def has(text: str) -> bool:
        return text in seen

    async def hears_what_is_said_now() -> bool:
        await get(ref, "/say?n=1&text=first")
        return "first 0" in seen

    await until(hears_what_is_said_now, "following has begun")
    for part in range(12):
        await get(ref, f"/say?n=1000&text=part{part:02}")
        await until(lambda part=part: has(f"part{part:02} 999"), "the follower keeps up")  # type: ignore[misc]
    await get(ref, "/exit?code=0")
    await asyncio.wait_for(following, 10)
    assert [text for text in seen if text != "first 0"] == [
        f"part{part:02} {number}" for part in range(12) for number in range(1000)
    ]
    sizes = [path.stat().st_size for path in (theatre.folder / "engines").glob("*.log*")]
    assert len(sizes) == 3
    assert max(sizes) <= 64 * 1024
    tail = [line.text async for line in runtime.logs(ref, tail=2000)]
    assert tail == seen[-2000:]


def test_lines_are_cut_where_progress_bars_and_windows_end_them() -> None:
    cutter = LineCutter()
    assert cutter.feed(b"Loading: 10%\rLoading: 20%\r") == [b"Loading: 10%"]
    assert cutter.feed(b"\ndone\r\nhalf") == [b"Loading: 20%", b"done"]
    assert cutter.feed(b" and half\n\n") == [b"half and half", b""]
    long = cutter.feed(b"x" * (2 * MAX_LINE_BYTES + 5))
    assert [len(piece) for piece in long] == [MAX_LINE_BYTES, MAX_LINE_BYTES]
    assert cutter.end() == [b"x" * 5]
    assert cutter.end() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_refuses_starts_and_never_stops_an_engine(small_disk: Path) -> None:
    async with stage(RuntimeKind.PROCESS, small_disk) as theatre:
        runtime = ProcessRuntime(RuntimeKind.PROCESS, small_disk / "engines", theatre.owner, log_bytes=10 * 1024**2)
        ref = await theatre.started(runtime, theatre.launch())
        doomed = await theatre.started(runtime, theatre.launch(name="doomed"))
        ballast = small_disk / "ballast"
        with suppress(OSError):
            ballast.write_bytes(b"x" * 256 * 1024)
        await get(ref, "/say?n=2000&text=flood")  # 80 KB of log, and no room for it
        assert await get(ref, "/health") == "ok"
        other = theatre.launch(name="other")
        with pytest.raises(StorageFull):
            await runtime.start(other)
        assert engines_of(theatre, other) == []
        assert {found.deployment for found in await runtime.find()} == {ref.deployment, doomed.deployment}
        await get(doomed, "/exit?code=9")
        ended = await asyncio.wait_for(runtime.wait(doomed), 5)
        assert ended is not None
        assert ended.code == 9
        ballast.unlink()

        async def healed() -> bool:
            await get(ref, "/say?n=1&text=after")
            return any(["log lines were lost" in line.text async for line in runtime.logs(ref)])

        await until(healed, "the log goes on and tells what it missed")
        await theatre.started(runtime, other)


async def test_the_kernels_out_of_memory_kill_is_told(theatre: Stage) -> None:
    group = Path("/sys/fs/cgroup/memory") / f"modelgrid-{os.getpid()}"
    if not (group.parent / "memory.limit_in_bytes").exists() or not os.access(group.parent, os.W_OK):
        pytest.skip("needs root and a cgroup v1 memory controller")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup: {error}")
    try:
        (group / "memory.limit_in_bytes").write_text(str(64 * 1024**2))
        code = (
            f"open('{group}/cgroup.procs', 'w').write(str(__import__('os').getpid()))\n"
            "hold = []\nwhile True: hold.append(bytearray(1024 * 1024))"
        )
        runtime = theatre.runtime()
        ref = await runtime.start(replace(theatre.launch(), argv=(sys.executable, "-c", code)))
        ended = await asyncio.wait_for(runtime.wait(ref), 20)
        assert ended is not None
        assert ended.signal == signal.SIGKILL
        assert ended.out_of_memory
    finally:
        with suppress(OSError):
            group.rmdir()


async def test_engines_inherit_the_field_s_variables_and_none_of_the_daemon_s(
    theatre: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELGRID_STATE_URL", "postgresql://user:password@host/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("HF_HOME", "/models")
    runtime = theatre.runtime()
    ref = await theatre.started(runtime, theatre.launch())
    for name in ("MODELGRID_STATE_URL", "AWS_SECRET_ACCESS_KEY", "NOTIFY_SOCKET"):
        assert await get(ref, f"/env?name={name}") == "", name
    assert await get(ref, "/env?name=HF_HOME") == "/models"
    assert await get(ref, "/env?name=MODELGRID_DEPLOYMENT") == ref.deployment
    record = await record_of(theatre, ref)
    watcher = Path(f"/proc/{record.watcher_pid}")
    assert b"s3cr3t-value" not in (watcher / "environ").read_bytes() + (watcher / "cmdline").read_bytes()
    for path in (theatre.folder / "engines").iterdir():
        assert b"s3cr3t-value" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0, path


async def test_the_watcher_is_small_and_holds_no_descriptor_of_the_daemon(theatre: Stage) -> None:
    runtime = theatre.runtime()
    ref = await theatre.started(runtime, theatre.launch())
    record = await record_of(theatre, ref)
    sizes = sizes_kb(record.watcher_pid)
    print(f"watcher: Rss {sizes['Rss']} kB, Pss {sizes['Pss']} kB, private {sizes['Private_Dirty']} kB")
    assert sizes["Rss"] < 16 * 1024
    links = descriptors(record.watcher_pid)
    assert len(links) <= 9, links


def test_it_works_on_uvloop(tmp_path: Path) -> None:
    async def scene() -> None:
        async with stage(RuntimeKind.PROCESS, tmp_path) as theatre:
            runtime = theatre.runtime()
            ref = await theatre.started(runtime, theatre.launch())
            waiting = asyncio.create_task(runtime.wait(ref))
            await asyncio.sleep(0)
            began = time.monotonic()
            await theatre.kill_hard(runtime, ref)
            ended = await asyncio.wait_for(waiting, 5)
            assert ended is not None
            assert ended.signal == signal.SIGKILL
            assert time.monotonic() - began < 1

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())


async def test_health_names_what_is_missing(tmp_path: Path) -> None:
    missing = ProcessRuntime(RuntimeKind.PROCESS, tmp_path / "a", "owner", program="no-such-vllm")
    health = await missing.health()
    assert not health.available
    assert "no-such-vllm" in health.problem
    assert health.fix
    assert shutil.which("sleep")
    assert (await ProcessRuntime(RuntimeKind.PROCESS, tmp_path / "b", "owner", program="sleep").health()).available
    (tmp_path / "file").write_text("")
    blocked = await ProcessRuntime(RuntimeKind.PROCESS, tmp_path / "file" / "c", "owner").health()
    assert not blocked.available


async def test_an_engine_that_dies_at_once_still_leaves_its_last_words(theatre: Stage) -> None:
    runtime = theatre.runtime()
    launch = replace(
        theatre.launch(), argv=(sys.executable, "-c", "import sys; sys.stderr.write('CUDA out of memory'); sys.exit(1)")
    )
    ref = await runtime.start(launch)
    ended = await asyncio.wait_for(runtime.wait(ref), 10)
    assert ended is not None
    assert (ended.code, ended.out_of_memory) == (1, False)
    assert [(line.stream, line.text) async for line in runtime.logs(ref)] == [("stderr", "CUDA out of memory")]
