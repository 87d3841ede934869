"""R32: a backup taken while the store writes is some state that was committed, whole."""

import asyncio
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from store_values import event, target

from modelgrid.adapters.store_sql import open_store


def _back_up(path: Path, copy: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("VACUUM INTO ?", [str(copy)])
    connection.close()


async def test_a_backup_while_writing_is_a_committed_prefix(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = await open_store(f"sqlite:///{path}")
    acknowledged = 0
    enough, stop = asyncio.Event(), False

    async def write() -> None:
        nonlocal acknowledged
        while not stop:
            await store.put_target(target(), events=[event(str(acknowledged + 1))])
            acknowledged += 1
            if acknowledged % 50 == 0:
                enough.set()

    writer = asyncio.create_task(write())
    ranges = []
    for number in range(3):
        enough.clear()
        await asyncio.wait_for(enough.wait(), 30)
        before = acknowledged
        await asyncio.to_thread(_back_up, path, tmp_path / f"copy-{number}.db")
        ranges.append((before, acknowledged + 1))
    stop = True
    await writer
    await store.close()

    for number, (least, most) in enumerate(ranges):
        copy = await open_store(f"sqlite:///{tmp_path}/copy-{number}.db")
        (restored,) = await copy.targets()
        kinds = [e.kind for e in await copy.events(limit=100_000)]
        assert kinds == [str(n) for n in range(1, restored.revision + 1)]
        assert least <= restored.revision <= most
        await copy.put_target(target(), expected_revision=restored.revision)
        await copy.close()
