"""R2: the power fails at a random write or sync. Nothing acknowledged may be lost, and nothing may be torn.

The whole store runs over a disk that forgets what was not synced (`store_power`). The same with
`synchronous = NORMAL` must lose something, or the test could not tell a durable store from one that is not.
"""

import os
import random
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from store_power import LossyDisk, driver
from store_values import event, target

from modelgrid.adapters.store_sql import SqlStore, open_store
from modelgrid.adapters.store_sql.database import Database
from modelgrid.adapters.store_sql.engine import SQLITE_PRAGMAS, sqlite_engine
from modelgrid.adapters.store_sql.schema import ensure_schema

SEEDS = 100 if os.environ.get("MODELGRID_NIGHTLY") == "1" else 20
FULL = SQLITE_PRAGMAS
NORMAL = tuple(pragma.replace("FULL", "NORMAL") for pragma in SQLITE_PRAGMAS)


@dataclass
class Outcome:
    acknowledged: int
    lost: int


async def power_cut(folder: Path, seed: int, pragmas: tuple[str, ...]) -> Outcome:
    chance = random.Random(seed)
    disk = LossyDisk(f"lossy-{folder.name}", chance)
    database = Database(sqlite_engine(folder / "before" / "state.db", pragmas=pragmas, dbapi=driver(disk)))
    acknowledged: list[int] = []
    at_cut: list[int] = []
    try:
        await database.prepare(ensure_schema)
        store = SqlStore(database)
        # The files are there and synced: what is lost below was lost by a write, not by a missing folder entry.
        await database.prepare(_checkpoint)
        disk.cut_after(chance.randrange(50, 1500), lambda: at_cut.extend(acknowledged))
        number = 0
        while disk.found is None:
            number += 1
            await store.put_target(target(), events=[event(data={"number": number, "padding": "x" * 500})])
            acknowledged.append(number)
    finally:
        await database.close()
        disk.unregister()

    after = _restore(folder / "after", disk.found)
    found = await open_store(f"sqlite:///{after}")
    stored = [e.data["number"] for e in await found.events(limit=10_000)]
    revisions = [t.revision for t in await found.targets()]
    await found.close()
    with sqlite3.connect(after) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    # One transaction wrote both: any committed prefix has as many of the one as of the other.
    assert stored == list(range(1, len(stored) + 1))
    assert revisions == ([len(stored)] if stored else [])
    return Outcome(acknowledged=len(at_cut), lost=len(set(at_cut) - set(stored)))


def _restore(folder: Path, found: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name in ("state.db", "state.db-wal"):
        (folder / name).write_bytes(found[name])
    return folder / "state.db"


def _checkpoint(engine: object) -> None:
    with engine.raw_connection() as connection:  # type: ignore[attr-defined]
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def test_full_sync_loses_nothing_in_a_power_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = []
    for seed in range(SEEDS):
        # Short logs bring many checkpoints, where the database file itself is written.
        log_pages = (8, 40, 1000)[seed % 3]
        setup = (*FULL, f"PRAGMA wal_autocheckpoint = {log_pages}")
        outcomes.append(await power_cut(tmp_path / f"full-{seed}", seed, setup))
    with capsys.disabled():
        total = sum(o.acknowledged for o in outcomes)
        print(f"\nR2: {SEEDS} power cuts, {total} acknowledged writes, {sum(o.lost for o in outcomes)} lost (FULL)")
    assert [o.lost for o in outcomes] == [0] * SEEDS
    assert total > SEEDS, "the cuts came before anything was written"


async def test_the_test_can_tell_normal_from_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = []
    for seed in range(SEEDS):
        outcomes.append(await power_cut(tmp_path / f"normal-{seed}", seed, NORMAL))
    losing = sum(o.lost > 0 for o in outcomes)
    with capsys.disabled():
        print(f"\nR2 control: synchronous=NORMAL lost acknowledged writes in {losing} of {SEEDS} power cuts")
    assert losing > SEEDS // 2
