"""A driver that hangs, crashes or babbles costs its own readings and nothing else (real child processes)."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from modelgrid.adapters.clock_system import SystemClock
from modelgrid.adapters.gpu_reader import GpuProbeFailed, GpuReader, ProbeSpec
from modelgrid.adapters.gpu_reader.reader import TIMEOUT_SECONDS
from modelgrid.domain.gpu import GpuVendor
from modelgrid.services.gpu_inventory import GpuInventoryService

FIXTURES = Path(__file__).parents[1] / "fixtures" / "gpu"
STUB = "gpu_stub_probes:StubProbe"


def make_reader(root: Path, timeout_seconds: float = 5.0, vendor: GpuVendor = GpuVendor.NVIDIA) -> GpuReader:
    for number, device in ((0x10DE, "0000:01:00.0"), (0x1002, "0000:02:00.0")):  # without hardware no child is started
        folder = root / "sys/bus/pci/devices" / device
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in (("vendor", number), ("device", 0x1234), ("class", 0x030200)):
            (folder / name).write_text(f"{value:#x}\n")
    return GpuReader(ProbeSpec(vendor, STUB, root), timeout_seconds, {"PYTHONPATH": str(FIXTURES)})


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[GpuReader]:
    made = make_reader(tmp_path)
    yield made
    await made.close()


def alive(pid: int) -> bool:
    """Return whether the process runs; a zombie is one that nobody reaped, and is not gone."""
    return Path(f"/proc/{pid}").exists()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> set[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(pid) for pid in text.split()}


def zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # other processes set no event
            await asyncio.sleep(0.01)


async def gone(pid: int) -> None:
    await until(lambda: not alive(pid))


async def with_timeout_of(reader: GpuReader, seconds: float) -> None:
    """Give a child that runs already less time than its start took."""
    await reader.read()
    reader._timeout = seconds


async def test_one_child_answers_question_after_question(reader: GpuReader) -> None:
    assert [gpu.id for gpu in await reader.read()] == ["nvidia-0"]
    pid = reader.child_pid
    assert (await reader.drivers()).version == "1.0"
    await reader.read()
    assert reader.child_pid == pid


async def test_concurrent_questions_are_answered_in_turn(reader: GpuReader) -> None:
    gpus, report, again = await asyncio.gather(reader.read(), reader.drivers(), reader.read())
    assert gpus == again
    assert report.version == "1.0"


async def test_a_hang_is_ended_within_five_seconds(tmp_path: Path) -> None:
    """With the limit the daemon has: killed at 5 s, inventory stale, others fresh, nothing left behind."""
    hung = make_reader(tmp_path / "hung", TIMEOUT_SECONDS)
    well = make_reader(tmp_path / "well", TIMEOUT_SECONDS, GpuVendor.AMD)
    service = GpuInventoryService([hung, well], SystemClock(), interval_seconds=0.1)
    fresh = await service.refresh()
    assert (len(fresh.gpus), fresh.stale) == (2, False)
    pid = hung.child_pid
    assert pid is not None
    files = open_files()
    (tmp_path / "hung/hang").touch()

    started = time.monotonic()
    running = asyncio.create_task(service.run())
    slowest = 0.0
    try:
        async with asyncio.timeout(15):
            while not service.inventory.stale:
                before = time.monotonic()
                await asyncio.sleep(0.01)
                slowest = max(slowest, time.monotonic() - before - 0.01)
        took = time.monotonic() - started
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert 4.5 < took < 7
    assert slowest < 0.5, "the event loop goes on while the driver hangs"
    assert not alive(pid)
    assert service.inventory.gpus == fresh.gpus, "the old readings stay"
    assert "did not answer within 5 s" in service.inventory.problem

    (tmp_path / "hung/hang").unlink()
    mended = await service.refresh()
    assert (mended.stale, mended.problem) == (False, "")
    assert hung.child_pid not in {None, pid}
    assert open_files() == files
    await service.close()
    assert open_files() == files - 2, "one socket per child"


async def test_a_hung_vendor_tool_dies_with_the_child(tmp_path: Path, reader: GpuReader) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\ntrap '' TERM INT HUP\nsleep 3600\n")
    tool.chmod(0o755)
    await with_timeout_of(reader, 0.5)
    (tmp_path / "tool-hangs").touch()
    with pytest.raises(GpuProbeFailed, match="did not answer"):
        await reader.read()
    await gone(int((tmp_path / "tool.pid").read_text()))
    assert reader.child_pid is None


async def test_twenty_hangs_leak_nothing(tmp_path: Path, reader: GpuReader) -> None:
    await reader.read()
    files, tasks, known = open_files(), len(asyncio.all_tasks()), children()
    for _ in range(20):
        await with_timeout_of(reader, 0.05)
        (tmp_path / "hang").touch()
        with pytest.raises(GpuProbeFailed):
            await reader.read()
        (tmp_path / "hang").unlink()
        reader._timeout = 5.0
    await reader.read()
    assert open_files() == files
    assert len(asyncio.all_tasks()) == tasks
    assert len(children()) == len(known), "no zombie and no second child"


async def test_a_crash_is_said_and_the_next_question_meets_a_new_child(tmp_path: Path, reader: GpuReader) -> None:
    await reader.read()
    (tmp_path / "crash").touch()
    with pytest.raises(GpuProbeFailed, match="ended without an answer"):
        await reader.read()
    (tmp_path / "crash").unlink()
    assert len(await reader.read()) == 1


async def test_a_child_that_went_to_sleep_is_replaced_unnoticed(reader: GpuReader) -> None:
    await reader.read()
    pid = reader.child_pid
    assert pid is not None
    os.kill(pid, 9)
    await until(lambda: zombie(pid))
    assert len(await reader.read()) == 1
    assert reader.child_pid != pid
    assert not alive(pid)


async def test_what_a_library_prints_does_not_get_between_the_replies(tmp_path: Path, reader: GpuReader) -> None:
    (tmp_path / "babble").touch()
    assert len(await reader.read()) == 1


async def test_a_refusal_arrives_with_its_remedy(tmp_path: Path, reader: GpuReader) -> None:
    (tmp_path / "refuse").touch()
    with pytest.raises(GpuProbeFailed, match="The driver is broken") as caught:
        await reader.read()
    assert caught.value.fix == "Mend it."
    assert reader.child_pid is not None, "a refusal is an answer; the child lives on"


async def test_a_cancelled_question_does_not_answer_the_next(tmp_path: Path, reader: GpuReader) -> None:
    await reader.read()
    (tmp_path / "hang").touch()
    asking = asyncio.create_task(reader.drivers())
    await until(lambda: reader._asked == 2)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    (tmp_path / "hang").unlink()
    assert len(await reader.read()) == 1


async def test_a_probe_that_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    reader = GpuReader(ProbeSpec(GpuVendor.NVIDIA, "no_such_module:Probe", tmp_path))
    with pytest.raises(GpuProbeFailed, match="ended without an answer"):
        await reader.read()
    assert reader.child_pid is None


async def test_a_process_that_cannot_be_killed_blocks_neither_the_daemon_nor_multiplies(
    reader: GpuReader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process in uninterruptible sleep survives SIGKILL. Here the signal is held back instead."""
    from modelgrid.adapters.gpu_reader import reader as module

    await with_timeout_of(reader, 0.1)
    pid = reader.child_pid
    assert pid is not None
    (tmp_path / "hang").touch()
    with monkeypatch.context() as held:
        held.setattr(module, "_kill_group", lambda process: None)
        started = time.monotonic()
        with pytest.raises(GpuProbeFailed, match="did not answer"):
            await reader.read()
        assert time.monotonic() - started < 3
        with pytest.raises(GpuProbeFailed, match="cannot be killed") as caught:
            await reader.read()
        assert "Reboot" in caught.value.fix
        assert reader.child_pid is None, "no second child beside the stuck one"
    os.kill(pid, 9)
    await until(lambda: zombie(pid))
    (tmp_path / "hang").unlink()
    reader._timeout = 5.0
    assert len(await reader.read()) == 1
    assert not alive(pid), "the next question reaps it"


async def test_the_child_ends_with_the_daemon(tmp_path: Path) -> None:
    """A daemon that is killed closes its socket; the child sees that and goes."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from modelgrid.adapters.gpu_reader import GpuReader, ProbeSpec\n"
        "from modelgrid.domain.gpu import GpuVendor\n"
        "async def main():\n"
        f"    reader = GpuReader(ProbeSpec(GpuVendor.NVIDIA, {STUB!r}, Path({str(tmp_path)!r})))\n"
        "    await reader.read()\n"
        "    print(reader.child_pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    daemon = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(FIXTURES)},
    )
    output, _ = await daemon.communicate()
    await gone(int(output))
