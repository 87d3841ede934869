"""R31: a stored database of every past schema is brought to the newest one with its rows as they were, after a copy of
it was made; one of a newer schema is refused."""

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_postgres import PostgresCluster, binaries, postgres_cluster
from store_values import api_key, event, session, target

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures" / "state"))

from state_past import FOLDER, PAST, make_past, stored

from modelgrid.adapters.store_sql import open_store, schema
from modelgrid.adapters.store_sql.copies import schema_of
from modelgrid.adapters.store_sql.schema import COPIES_KEPT, copies_beside
from modelgrid.adapters.store_sql.tables import SCHEMA_VERSION
from modelgrid.domain.errors import InvalidConfig
from modelgrid.domain.node import NodeStatus

OLD = [revision for revision in PAST if revision != SCHEMA_VERSION]


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    if binaries() is None:
        pytest.skip("no PostgreSQL here: neither /usr/lib/postgresql/*/bin nor initdb on the PATH")
    with postgres_cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state.db"
    postgres: PostgresCluster = request.getfixturevalue("cluster")
    return postgres.url(postgres.create_database())


def test_every_migration_is_known_and_every_past_schema_has_its_rows() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    revisions = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    assert revisions == schema.known_schemas()
    missing = [revision for revision in OLD if not (FOLDER / f"{revision}.json").exists()]
    assert missing == [], "write them: python tests/fixtures/state/state_past.py REVISION"


@pytest.mark.parametrize("revision", OLD)
async def test_a_past_schema_is_migrated_with_its_rows_as_they_were(url: str, revision: str) -> None:
    before = make_past(url, revision)
    store = await open_store(url)
    try:
        assert {t.name: t.replicas for t in await store.targets()} == {target().name: 2, "second": 0}
        (deployment,) = await store.deployments()
        assert (deployment.revision, deployment.port, len(deployment.failures)) == (2, 41_001, 1)
        assert [r.deployment.id for r in await store.history()] == ["gone-aaaaaa"]
        assert (await store.history_record("gone-aaaaaa")).last_lines[0].text == "hello"
        assert [e.kind for e in await store.events()] == ["created", "removed"]
        assert {k.id: k.revoked_at for k in await store.api_keys()} == {"k1": None, "k2": 1_760_000_009.0}
        assert [u.name for u in await store.users()] == ["admin"]
        assert await store.node_status() == {"worker-a": NodeStatus.CORDONED}
        assert await store.settings(["owner"]) == {"owner": "own-1"}
        # It is written to, too: in the old tables and in those that came later.
        (added,) = await store.add_events([event("upgraded")])
        assert added.seq == max(row["seq"] for row in before["events"]) + 1
        await store.put_session(session("session-2"))
        await store.add_api_key(api_key("k3"))
    finally:
        await store.close()
    after = stored(url, set(before))
    for name, rows in before.items():
        assert [row for row in after[name] if row in rows] == rows, f"rows of {name} changed"


@pytest.mark.parametrize("revision", OLD)
async def test_it_is_copied_as_it_was_before(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "state.db"
    before = make_past(f"sqlite:///{path}", revision)
    await (await open_store(f"sqlite:///{path}")).close()
    (copy,) = copies_beside(path)
    assert copy.name.startswith(f"state.db.schema-{revision}-")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert schema_of(copy) == revision
    assert stored(f"sqlite:///{copy}", set(before)) == before
    await (await open_store(f"sqlite:///{path}")).close()
    assert copies_beside(path) == [copy], "an open without a migration copies nothing"


async def test_a_new_database_has_nothing_to_copy(tmp_path: Path) -> None:
    await (await open_store(f"sqlite:///{tmp_path}/state.db")).close()
    assert copies_beside(tmp_path / "state.db") == []


async def test_the_newest_copies_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    for day in range(1, 6):
        (tmp_path / f"state.db.schema-0001-2026010{day}T000000Z").write_bytes(b"")
    notes = tmp_path / "state.db.schema-notes"
    notes.write_text("mine")
    make_past(f"sqlite:///{path}", OLD[0])
    await (await open_store(f"sqlite:///{path}")).close()
    kept = [item.name.rpartition("-")[2][:8] for item in copies_beside(path)]
    assert len(kept) == COPIES_KEPT
    assert kept[1:] == ["20260105", "20260104"]
    assert notes.exists()


@pytest.mark.parametrize("revision", OLD)
async def test_several_processes_may_migrate_at_once(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "state.db"
    before = make_past(f"sqlite:///{path}", revision)
    stores = await asyncio.gather(*(open_store(f"sqlite:///{path}") for _ in range(4)))
    for store in stores:
        assert len(await store.events()) == len(before["events"])
        await store.close()
    assert len(copies_beside(path)) == 1


async def test_a_newer_schema_is_refused_and_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await (await open_store(f"sqlite:///{path}")).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE modelgrid_schema SET version_num = '9999'")
    connection.close()
    with pytest.raises(InvalidConfig, match="schema 9999, which this version of ModelGrid does not know"):
        await open_store(f"sqlite:///{path}")
    assert copies_beside(path) == []
    assert schema_of(path) == "9999"
