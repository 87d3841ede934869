"""R1: the daemon is killed with -9 at random moments while it writes. Nothing acknowledged may be lost.

Every eighth kill begins with a new database, so that its creation is hit as well.
"""

import asyncio
import os
import random
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

import store_writer

from modelgrid.adapters.store_sql import open_store

KILLS = 200 if os.environ.get("MODELGRID_NIGHTLY") == "1" else 40
READY_SECONDS = 2.0


async def _write_and_kill(nursery: asyncio.subprocess.Process, path: Path, start: int, seconds: float) -> list[int]:
    """Let a writer run for so long, kill it; return what it said was acknowledged."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(f"{path} {start}\n".encode())
    acknowledged: list[int] = []
    kill: asyncio.TimerHandle | None = None
    while (line := (await nursery.stdout.readline()).decode().split()) != ["dead"]:
        match line:
            case ["pid", pid]:
                kill = asyncio.get_running_loop().call_later(seconds, os.kill, int(pid), signal.SIGKILL)
            case ["ack", number]:
                acknowledged.append(int(number))
            case _:
                raise AssertionError(f"the nursery ended: {line}")
    assert kill is not None
    assert kill.when() <= asyncio.get_running_loop().time(), "the writer ended before it was killed"
    return acknowledged


@pytest.mark.timeout(600)
async def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nursery = await asyncio.create_subprocess_exec(
        sys.executable,
        store_writer.__file__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    chance = random.Random(1)
    total, slowest = 0, 0.0
    path, acknowledged = tmp_path, list[int]()
    try:
        for kill in range(KILLS):
            if kill % 8 == 0:
                path, acknowledged = tmp_path / f"{kill}" / "state.db", []
            after = chance.uniform(0.0, 0.08 if kill % 8 == 0 else 0.25)
            acknowledged += await _write_and_kill(nursery, path, kill * 100_000, after)

            began = time.monotonic()
            store = await open_store(f"sqlite:///{path}")
            slowest = max(slowest, time.monotonic() - began)
            try:
                assert await store_writer.missing(store, acknowledged) == set()
            finally:
                await store.close()
            with sqlite3.connect(path) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            connection.close()
            if kill % 8 == 7 or kill == KILLS - 1:
                total += len(acknowledged)
    finally:
        os.killpg(nursery.pid, signal.SIGKILL)  # with a writer that a failed test left running
        await nursery.wait()
        nursery._transport.close()  # type: ignore[attr-defined]
    with capsys.disabled():
        print(
            f"\nR1: {KILLS} × kill -9, {total} acknowledged changes, 0 lost; slowest reopening {slowest * 1000:.0f} ms"
        )
    assert total > KILLS, "the writers were killed before they wrote anything"
    assert slowest < READY_SECONDS
