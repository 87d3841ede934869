"""R12: PostgreSQL is restarted without a shutdown (`-m immediate`) while the store writes.

Nothing acknowledged may be lost, what was refused must not be there, and the store must go on by itself. Only a
connection that breaks during the commit itself leaves it open, and then the error says so.
"""

import asyncio
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from store_postgres import binaries, postgres_cluster
from store_values import event, target

from modelgrid.adapters.store_sql import SqlStore, open_store
from modelgrid.domain.errors import StoreUnavailable

pytestmark = pytest.mark.skipif(binaries() is None, reason="no PostgreSQL here")

RESTARTS = 20 if os.environ.get("MODELGRID_NIGHTLY") == "1" else 4
WRITERS = 6


class Ledger:
    """What the writers were told."""

    def __init__(self) -> None:
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()
        self.open: set[str] = set()
        self._more = asyncio.Event()

    async def fifty_more(self) -> None:
        wanted = len(self.acknowledged) + 50
        async with asyncio.timeout(30):
            while len(self.acknowledged) < wanted:
                self._more.clear()
                await self._more.wait()

    async def write(self, store: SqlStore, writer: int, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            name = f"w{writer}-{number}"
            number += 1
            try:
                await store.put_target(target(name), expected_revision=0, events=[event(subject_id=name)])
            except StoreUnavailable as error:
                (self.open if error.details.get("ambiguous") else self.refused).add(name)
            else:
                self.acknowledged.add(name)
                self._more.set()


@pytest.mark.timeout(300)
async def test_an_immediate_restart_loses_nothing_acknowledged(capsys: pytest.CaptureFixture[str]) -> None:
    with postgres_cluster() as cluster:
        store = await open_store(cluster.url(cluster.create_database()))
        ledger, stop = Ledger(), asyncio.Event()
        writers = [asyncio.create_task(ledger.write(store, n, stop)) for n in range(WRITERS)]
        try:
            for _ in range(RESTARTS):
                await ledger.fifty_more()
                await asyncio.to_thread(cluster.restart_immediately)
            await ledger.fifty_more()
        finally:
            stop.set()
            await asyncio.gather(*writers)
        stored = {t.name for t in await store.targets()}
        told = {e.subject_id for e in await store.events(limit=1_000_000)}
        await store.close()
    with capsys.disabled():
        print(
            f"\nR12: {RESTARTS} × pg_ctl restart -m immediate, {len(ledger.acknowledged)} acknowledged changes, "
            f"{len(ledger.acknowledged - stored)} lost, {len(ledger.refused)} refused, {len(ledger.open)} left open"
        )
    assert ledger.acknowledged <= stored
    assert stored == told
    assert not ledger.refused & stored
    assert stored <= ledger.acknowledged | ledger.open


async def test_a_server_that_stays_away_is_reported_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelgrid.adapters.store_sql import database

    monkeypatch.setattr(database, "RETRY_SECONDS", 0.3)
    with postgres_cluster() as cluster:
        store = await open_store(cluster.url(cluster.create_database()))
        await store.put_target(target())
        await asyncio.to_thread(cluster.stop)
        with pytest.raises(StoreUnavailable) as away:
            await store.put_target(target("refused"))
        assert not away.value.details.get("ambiguous")
        with pytest.raises(StoreUnavailable):
            await store.targets()
        await asyncio.to_thread(cluster.start_again)
        assert await store.targets() == (target(revision=1),)
        await store.close()


async def test_a_call_that_hangs_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else holds the row; the call is answered before the server gives up, and says what is not known."""
    from modelgrid.adapters.store_sql import database

    with postgres_cluster() as cluster:
        name = cluster.create_database()
        store = await open_store(cluster.url(name))
        await store.put_target(target())
        monkeypatch.setattr(database, "CALL_SECONDS", 0.5)
        with cluster.connect(name) as other, other.transaction():
            other.execute("SELECT * FROM targets FOR UPDATE")
            with pytest.raises(StoreUnavailable) as slow:
                await store.put_target(target(replicas=7))
        assert slow.value.details["ambiguous"] is True
        monkeypatch.setattr(database, "CALL_SECONDS", 15.0)
        assert (await store.put_target(target(replicas=8))).revision == 3, "the late change was made after all"
        await store.close()
