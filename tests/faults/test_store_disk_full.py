"""R3: the disk is full. Changes are refused as `StorageFull`, reading goes on, and it heals once there is room."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures" / "state"))

from state_past import make_past, stored
from store_postgres import binaries, postgres_cluster
from store_values import api_key, deployment, event, target, user

from modelgrid.adapters.store_sql import SqlStore, open_store
from modelgrid.adapters.store_sql.copies import schema_of
from modelgrid.adapters.store_sql.schema import copies_beside
from modelgrid.adapters.store_sql.tables import SCHEMA_VERSION
from modelgrid.domain.errors import StorageFull
from modelgrid.domain.node import NodeStatus

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")

MIB = 1024**2


class SmallDisk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, *, leave: int = 0) -> None:
        """Fill up the disk but for `leave` bytes."""
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            for chunk in (64 * 1024, 4096, 1):
                try:
                    while True:
                        ballast.write(b"\0" * chunk)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
            ballast.truncate(ballast.tell() - leave)

    def make_room(self) -> None:
        (self.folder / "ballast").unlink()


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    """Of 8 MiB, or the size asked for. Not below `tmp_path`, where a PostgreSQL of another user may not go."""
    folder = Path(tempfile.mkdtemp(prefix="mg-disk-"))
    size = getattr(request, "param", 8)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=700", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        if mounted.returncode != 0:
            pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
        yield SmallDisk(folder)
        subprocess.run(["umount", folder], check=True)
    finally:
        folder.rmdir()


@pytest.fixture
async def store(disk: SmallDisk) -> AsyncIterator[SqlStore]:
    opened = await open_store(f"sqlite:///{disk.folder}/state.db")
    yield opened
    await opened.close()


async def _write_until_refused(store: SqlStore, start: int) -> list[str]:
    """Return the names of the targets that were acknowledged before the disk was full."""
    acknowledged: list[str] = []
    for number in range(start, start + 10_000):
        name = f"t{number}"
        try:
            await store.put_target(target(name, updated_by="x" * 5_000), events=[event(subject_id=name)])
        except StorageFull as refused:
            assert refused.fix  # noqa: PT017  # how many writes succeed before it is the disk's affair
            return acknowledged
        acknowledged.append(name)
    raise AssertionError("the disk was never full")


async def _names(store: SqlStore) -> set[str]:
    targets = {t.name for t in await store.targets()}
    assert targets == {e.subject_id for e in await store.events(limit=100_000)}, "half a transaction was kept"
    return targets


async def test_a_full_disk_refuses_changes_and_heals(
    store: SqlStore, disk: SmallDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "x" * 200_000
    changes: list[Callable[[], Awaitable[object]]] = [
        lambda: store.put_target(target(long)),
        lambda: store.save_deployment(deployment(intent_reason=long)),
        lambda: store.add_events([event(message=long)]),
        lambda: store.add_api_key(api_key(label=long)),
        lambda: store.put_user(user(password_hash=long)),
        lambda: store.set_node_status(long, NodeStatus.CORDONED),
        lambda: store.put_setting("s", long),
    ]
    acknowledged: set[str] = set()
    for round_, room in enumerate((6 * MIB, 0, MIB // 3)):
        disk.fill(leave=room)
        acknowledged |= set(await _write_until_refused(store, round_ * 10_000))
        for change in changes:
            with pytest.raises(StorageFull):
                await change()
        assert await _names(store) == acknowledged, "reading goes on, and what was refused is not there"
        disk.make_room()
        healed = f"healed{round_}"
        await store.put_target(target(healed), events=[event(subject_id=healed)])
        acknowledged.add(healed)
        assert await _names(store) == acknowledged
    await store.close()
    with sqlite3.connect(disk.folder / "state.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    again = await open_store(f"sqlite:///{disk.folder}/state.db")
    assert await _names(again) == acknowledged
    await again.close()
    with capsys.disabled():
        print(f"\nR3: disk full three times, {len(acknowledged)} acknowledged changes, 0 lost, healed each time")


async def test_opening_on_a_full_disk_says_so(disk: SmallDisk) -> None:
    url = f"sqlite:///{disk.folder}/state.db"
    disk.fill()
    with pytest.raises(StorageFull):
        await open_store(url)
    disk.make_room()
    store = await open_store(url)
    await store.put_target(target())
    await store.close()
    disk.fill()
    with pytest.raises(StorageFull):
        await open_store(url)
    disk.make_room()
    store = await open_store(url)
    assert await store.targets() == (target(revision=1),)
    await store.close()


@pytest.mark.parametrize("disk", [32], indirect=True)
@pytest.mark.skipif(binaries() is None, reason="no PostgreSQL here")
async def test_a_full_disk_under_postgresql(disk: SmallDisk) -> None:
    with postgres_cluster() as cluster:
        shutil.chown(disk.folder, cluster.folder.owner())
        with cluster.connect() as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{disk.folder}'")  # type: ignore[arg-type]
        store = await open_store(cluster.url(cluster.create_database(options="TABLESPACE small")))
        disk.fill()
        acknowledged = set(await _write_until_refused(store, 0))
        assert await _names(store) == acknowledged
        disk.make_room()
        await store.put_target(target("healed"), events=[event(subject_id="healed")])
        assert await _names(store) == acknowledged | {"healed"}
        await store.close()


async def test_without_room_for_its_copy_a_database_is_not_migrated(disk: SmallDisk) -> None:
    path = disk.folder / "state.db"
    url = f"sqlite:///{path}"
    before = make_past(url, "0001")
    disk.fill(leave=path.stat().st_size // 2)
    with pytest.raises(StorageFull, match=f"not migrated from schema 0001 to {SCHEMA_VERSION}") as refused:
        await open_store(url)
    assert "Free" in refused.value.fix
    assert copies_beside(path) == [], "half a copy was left"
    assert schema_of(path) == "0001"
    disk.make_room()
    assert stored(url, set(before)) == before
    await (await open_store(url)).close()
    assert schema_of(path) == SCHEMA_VERSION
    assert len(copies_beside(path)) == 1
