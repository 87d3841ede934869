"""What `ports.Store` promises, held by every database it runs on."""

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from memory_store import MemoryStore
from store_postgres import PostgresCluster, binaries, postgres_cluster
from store_values import (
    access_token,
    api_key,
    deployment,
    event,
    join_token,
    member,
    record,
    session,
    target,
    user,
)

from modelgrid.adapters.store_sql import SqlStore, database, open_store
from modelgrid.adapters.store_sql.tables import SCHEMA_VERSION
from modelgrid.domain.access import KeyLimits
from modelgrid.domain.audit import AuditCheckpoint, AuditEntry, AuditExtent
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.errors import Conflict, InvalidConfig, InvalidInput, NotFound, StoreUnavailable
from modelgrid.domain.event import Event, Subject
from modelgrid.domain.node import NodeStatus
from modelgrid.domain.target import Origin, RuntimeKind
from modelgrid.ports.store import Store


@pytest.fixture(scope="session")
def cluster() -> Iterator[PostgresCluster]:
    if binaries() is None:
        pytest.skip("no PostgreSQL here: neither /usr/lib/postgresql/*/bin nor initdb on the PATH")
    with postgres_cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database that is not there yet (SQLite) or empty (PostgreSQL)."""
    return _url(request, tmp_path)


def _url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/state.db"
    postgres: PostgresCluster = request.getfixturevalue("cluster")
    return postgres.url(postgres.create_database())


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = MemoryStore() if request.param == "memory" else await open_store(_url(request, tmp_path))
    yield opened
    await opened.close()


# --- targets


async def test_a_target_comes_back_as_it_was_put(store: Store) -> None:
    put = await store.put_target(target())
    assert put == target(revision=1)
    assert await store.targets() == (put,)


async def test_targets_are_counted_up_and_ordered_by_name(store: Store) -> None:
    await store.put_target(target("b"))
    await store.put_target(target("A"))
    second = await store.put_target(target("b", replicas=3))
    assert second.revision == 2
    assert [(t.name, t.replicas, t.revision) for t in await store.targets()] == [("A", 2, 1), ("b", 3, 2)]


async def test_the_expected_revision_guards_a_put(store: Store) -> None:
    with pytest.raises(Conflict) as absent:
        await store.put_target(target(), expected_revision=3, events=[event()])
    assert absent.value.details["revision"] == 0
    assert (await store.put_target(target(), expected_revision=0)).revision == 1
    with pytest.raises(Conflict) as exists:
        await store.put_target(target(replicas=9), expected_revision=0, events=[event()])
    assert exists.value.details["revision"] == 1
    assert (await store.put_target(target(replicas=3), expected_revision=1)).revision == 2
    with pytest.raises(Conflict) as stale:
        await store.put_target(target(replicas=9), expected_revision=1, events=[event()])
    assert stale.value.details["revision"] == 2
    assert [t.replicas for t in await store.targets()] == [3]
    assert await store.events() == (), "a refused put must leave no event"


async def test_deleting_a_target(store: Store) -> None:
    await store.put_target(target())
    with pytest.raises(Conflict) as stale:
        await store.delete_target(target().name, expected_revision=2, events=[event()])
    assert stale.value.details["revision"] == 1
    await store.delete_target(target().name, expected_revision=1, events=[event("deleted")])
    assert await store.targets() == ()
    with pytest.raises(NotFound):
        await store.delete_target(target().name, events=[event()])
    assert [e.kind for e in await store.events()] == ["deleted"]


async def test_fifty_writers_exactly_one_wins_per_revision(url: str) -> None:
    """Over several stores on one database, as several processes would have it."""
    stores = [await open_store(url) for _ in range(5)]
    try:
        await stores[0].put_target(target(replicas=0))
        won: list[tuple[int, str]] = []
        lost = 0

        async def write(name: str, store: SqlStore) -> None:
            nonlocal lost
            while True:
                (current,) = await store.targets()
                wanted = replace(current, replicas=current.replicas + 1, updated_by=name)
                try:
                    put = await store.put_target(
                        wanted, expected_revision=current.revision, events=[event("scaled", by=name)]
                    )
                except Conflict as conflict:
                    lost += conflict.details["revision"] > current.revision
                else:
                    won.append((put.revision, name))
                    return

        await asyncio.gather(*(write(f"w{n}", stores[n % 5]) for n in range(50)))
        (final,) = await stores[0].targets()
        assert sorted(revision for revision, _ in won) == list(range(2, 52))
        assert (final.revision, final.replicas) == (51, 50), "an update was lost"
        assert [e.by for e in await stores[1].events()] == [name for _, name in sorted(won)]
        assert lost > 0, "nobody ever collided: the test did not test"
    finally:
        await asyncio.gather(*(store.close() for store in stores))


# --- deployments and history


async def test_a_deployment_comes_back_as_it_was_saved(store: Store) -> None:
    minimal = Deployment(
        id=deployment().id, target="t", model="m", origin=Origin.CONFIG, runtime=RuntimeKind.PROCESS, created_at=1.0
    )
    full = deployment("full-aaaaaa", created_at=2.0)
    assert await store.save_deployment(minimal) == replace(minimal, revision=1)
    assert await store.save_deployment(full) == replace(full, revision=1)
    assert await store.deployments() == (replace(minimal, revision=1), replace(full, revision=1))


async def test_the_carried_revision_guards_a_save(store: Store) -> None:
    first = await store.save_deployment(deployment(), events=[event("created")])
    second = await store.save_deployment(replace(first, attempt=3))
    assert second.revision == 2
    for stale in (deployment(), first):
        with pytest.raises(Conflict) as conflict:
            await store.save_deployment(stale, events=[event("never")])
        assert conflict.value.details["revision"] == 2
    assert await store.deployments() == (second,)
    assert [e.kind for e in await store.events()] == ["created"]


async def test_archiving_moves_once(store: Store) -> None:
    saved = await store.save_deployment(deployment())
    ended = record(deployment=saved)
    await store.archive_deployment(ended, events=[event("removed")])
    assert await store.deployments() == ()
    await store.archive_deployment(replace(ended, reason="again"), events=[event("removed")])
    assert await store.history_record(saved.id) == ended
    assert [e.kind for e in await store.events()] == ["removed"]
    with pytest.raises(Conflict) as conflict:
        await store.save_deployment(replace(saved, intent=Intent.RUN))
    assert conflict.value.details["revision"] == 0, "a late writer must not bring it back"


async def test_what_was_forgotten_may_be_created_again(store: Store) -> None:
    saved = await store.save_deployment(deployment())
    await store.archive_deployment(record(deployment=saved))
    await store.forget_history(saved.id)
    await store.forget_history("nobody")
    with pytest.raises(NotFound):
        await store.history_record(saved.id)
    assert (await store.save_deployment(deployment())).revision == 1


async def test_archiving_replaces_the_record_of_a_stop(store: Store) -> None:
    saved = await store.save_deployment(deployment())
    await store.put_history(record(deployment=saved, reason="stopped"))
    assert await store.deployments() == (saved,)
    await store.put_history(record(deployment=saved, reason="stopped twice"))
    assert (await store.history_record(saved.id)).reason == "stopped twice"
    await store.archive_deployment(record(deployment=saved, reason="removed"))
    assert [r.reason for r in await store.history()] == ["removed"]


async def test_archiving_one_that_was_never_saved_keeps_its_record(store: Store) -> None:
    await store.archive_deployment(record(), events=[event("removed")])
    assert (await store.history_record(record().deployment.id)) == record()
    assert len(await store.events()) == 1


async def test_history_is_newest_first_and_pages(store: Store) -> None:
    for n in range(5):
        await store.put_history(record(f"d-{n}", ended_at=100.0 + n))
    page = await store.history(limit=2)
    assert [r.deployment.id for r in page] == ["d-4", "d-3"]
    assert all(r.last_lines == () for r in page)
    rest = await store.history(before=(page[-1].ended_at, page[-1].deployment.id))
    assert [r.deployment.id for r in rest] == ["d-2", "d-1", "d-0"]
    assert (await store.history_record("d-0")).last_lines == record().last_lines
    with pytest.raises(NotFound):
        await store.history_record("nobody")
    for name in ("e-1", "e-2", "e-3"):
        await store.put_history(record(name, ended_at=200.0))
    same = await store.history(limit=2)
    assert [r.deployment.id for r in same] == ["e-3", "e-2"], "what ended at one moment is in the order of ids"
    assert [r.deployment.id for r in await store.history(limit=2, before=(200.0, "e-2"))] == ["e-1", "d-4"]


async def test_pruning_keeps_events_of_what_is_kept(store: Store) -> None:
    live = await store.save_deployment(deployment("live"))
    for n in range(3):
        await store.put_history(record(f"ended-{n}", ended_at=100.0 + n))
    old = [event(subject_id=i, at=10.0) for i in (live.id, "ended-0", "ended-1", "ended-2")]
    await store.add_events([*old, event(subject=Subject.NODE, subject_id="live", at=10.0)])
    await store.add_events([event(subject=Subject.NODE, subject_id="worker-a", at=60.0)])
    await store.prune_history(keep=2, events_before=50.0)
    assert [r.deployment.id for r in await store.history()] == ["ended-2", "ended-1"]
    assert [e.subject_id for e in await store.events()] == ["live", "ended-1", "ended-2", "worker-a"]
    await store.prune_history(keep=0, events_before=50.0)
    assert await store.history() == ()
    assert [e.subject_id for e in await store.events()] == ["live", "worker-a"]


# --- events


async def test_events_come_back_in_order_with_rising_numbers(store: Store) -> None:
    facts = [event(f"k{n}", message=f"nul \0 in {n}") for n in range(10)]
    added = await store.add_events(facts)
    assert [replace(e, seq=0) for e in added] == facts
    numbers = [e.seq for e in added]
    assert numbers == sorted(set(numbers))
    assert numbers[0] > 0
    assert await store.events() == added
    assert await store.events(after=numbers[3], limit=2) == added[4:6]
    assert await store.events(after=numbers[3], newest_first=True) == added[:3:-1]
    assert await store.add_events([]) == ()


async def test_who_listens_hears_of_each_event_once_it_is_durable(store: Store) -> None:
    heard: list[Event] = []
    store.on_events(heard.extend)
    added = await store.add_events([event("a"), event("b")])
    await store.put_target(target(), events=[event("c")])
    with pytest.raises(Conflict):
        await store.put_target(target(), expected_revision=7, events=[event("refused")])
    await store.add_events([event("d")])
    assert [e.kind for e in heard] == ["a", "b", "c", "d"]
    assert tuple(heard[:2]) == added
    assert tuple(heard) == await store.events()


async def test_numbers_are_never_given_twice(store: Store) -> None:
    (first,) = await store.add_events([event(subject=Subject.NODE, at=1.0)])
    await store.prune_history(keep=0, events_before=2.0)
    assert await store.events() == ()
    (second,) = await store.add_events([event()])
    assert second.seq > first.seq


async def test_events_are_found_by_subject(store: Store) -> None:
    a, b, c = await store.add_events(
        [event(subject_id="a"), event(subject_id="b"), event(subject=Subject.NODE, subject_id="a")]
    )
    assert await store.events(subject=Subject.DEPLOYMENT) == (a, b)
    assert await store.events(subject_id="a") == (a, c)
    assert await store.events(subject=Subject.NODE, subject_id="a") == (c,)
    assert await store.events(subject=Subject.KEY) == ()


async def test_who_follows_the_events_misses_none(url: str) -> None:
    """Writers on several connections; a follower asks for what came after the last number it saw."""
    stores = [await open_store(url) for _ in range(4)]
    try:
        seen: list[int] = []
        written: list[int] = []

        async def write(store: Store) -> None:
            for _ in range(25):
                written.extend(e.seq for e in await store.add_events([event("a"), event("b")]))

        async def follow(store: Store) -> None:
            all_written = False
            while not all_written:
                all_written = len(written) == 300  # before the look, so that one look comes after the last write
                seen.extend(e.seq for e in await store.events(after=seen[-1] if seen else 0))

        await asyncio.gather(*(write(store) for store in [*stores[:3], *stores[:3]]), follow(stores[3]))
        assert seen == sorted(written)
    finally:
        await asyncio.gather(*(store.close() for store in stores))


# --- API keys, users, nodes, settings


async def test_api_keys(store: Store) -> None:
    await store.add_api_key(api_key("k2", created_at=2.0), events=[event("created", subject=Subject.KEY)])
    await store.add_api_key(api_key("k1", created_at=1.0, expires_at=None, limits=KeyLimits()))
    assert await store.api_keys() == (
        api_key("k1", created_at=1.0, expires_at=None, limits=KeyLimits()),
        api_key("k2", created_at=2.0),
    )
    for taken in (api_key("k1", digest="f" * 64), api_key("k3", digest=api_key("k1").digest)):
        with pytest.raises(Conflict):
            await store.add_api_key(taken, events=[event("never")])
    assert len(await store.api_keys()) == 2
    assert [e.kind for e in await store.events()] == ["created"]


async def test_revoking_twice_keeps_the_first_time(store: Store) -> None:
    await store.add_api_key(api_key())
    assert (await store.revoke_api_key("k1", 5.0, events=[event("revoked")])).revoked_at == 5.0
    assert (await store.revoke_api_key("k1", 6.0, events=[event("revoked")])).revoked_at == 5.0
    assert len(await store.events()) == 1
    with pytest.raises(NotFound):
        await store.revoke_api_key("nobody", 5.0, events=[event("never")])
    assert len(await store.events()) == 1


async def test_last_use_only_moves_forward(store: Store) -> None:
    await store.add_api_key(api_key("k1"))
    await store.add_api_key(api_key("k2", created_at=1_760_000_001.0))
    await store.touch_api_keys({"k1": 50.0, "k2": 10.0, "nobody": 1.0})
    await store.touch_api_keys({"k1": 40.0, "k2": 20.0})
    await store.touch_api_keys({})
    assert [key.last_used_at for key in await store.api_keys()] == [50.0, 20.0]


async def test_access_tokens(store: Store) -> None:
    later = access_token("token-2", created_at=1_760_000_001.0, expires_at=None)
    await store.add_access_token(later)
    await store.add_access_token(access_token(), events=[event("token_created", subject=Subject.TOKEN)])
    for twin in (access_token(digest="other"), access_token("other", digest=access_token().digest)):
        with pytest.raises(Conflict):
            await store.add_access_token(twin, events=[event()])
    assert await store.access_tokens() == (access_token(), later)
    await store.touch_access_tokens({"token-1": 50.0, "nobody": 1.0})
    await store.touch_access_tokens({"token-1": 40.0})
    await store.touch_access_tokens({})
    revoked = await store.revoke_access_token("token-1", 60.0, events=[event()])
    assert revoked == access_token(last_used_at=50.0, revoked_at=60.0)
    assert await store.revoke_access_token("token-1", 70.0, events=[event()]) == revoked
    with pytest.raises(NotFound):
        await store.revoke_access_token("nobody", 1.0)
    assert await store.access_tokens() == (revoked, later)
    assert len(await store.events()) == 2


async def test_an_invitation_is_good_once(store: Store) -> None:
    await store.add_join_token(join_token(), events=[event("invited", subject=Subject.NODE)])
    with pytest.raises(Conflict):
        await store.add_join_token(join_token())
    now = join_token().created_at + 1
    for token_id, at in (("unknown", now), ("join-1", join_token().expires_at + 1)):
        with pytest.raises(Conflict):
            await store.join_member(member(), token_id=token_id, at=at)
    assert await store.members() == ()
    tries = [store.join_member(member(name), token_id="join-1", at=now) for name in ("worker-a", "worker-b")]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(Conflict) == 1
    (joined,) = await store.members()
    (token,) = await store.join_tokens()
    assert token == join_token(used_at=now, used_by=joined.name)
    assert len(await store.events()) == 1


async def test_members(store: Store) -> None:
    await store.put_members([member("worker-b"), member()], events=[event(subject=Subject.NODE)])
    moved = member(peer_url="https://192.0.2.8:8083", next_digest="f" * 64)
    await store.put_members([moved])
    await store.put_members([])
    assert await store.members() == (moved, member("worker-b"))
    await store.delete_member("worker-a", events=[event(subject=Subject.NODE)])
    with pytest.raises(NotFound):
        await store.delete_member("worker-a")
    assert await store.members() == (member("worker-b"),)
    assert len(await store.events()) == 2


async def test_the_audit_log_is_numbered_without_gaps_and_chained(store: Store) -> None:
    def entry(who: str, action: str = "login") -> AuditEntry:
        return AuditEntry(at=1.5, who=who, kind="", source="192.0.2.1", action=action, target="/x", status=200)

    def seal(item: AuditEntry, previous: str) -> AuditEntry:
        return replace(item, hash=f"{previous}>{item.seq}")

    async def one(who: str) -> None:
        await store.append_audit([entry(who)], seal)

    await asyncio.gather(*(one(who) for who in "abcd"))
    await store.append_audit([entry("e"), entry("e", "logout")], seal)
    oldest = await store.audit_from(0, 10)
    assert [item.seq for item in oldest] == [1, 2, 3, 4, 5, 6]
    assert oldest[-1].hash == ">1>2>3>4>5>6"
    assert await store.audit(before=6, limit=1) == oldest[4:5]
    assert await store.audit(who="e", action="logout") == oldest[5:]
    assert await store.audit_from(5, 10) == oldest[5:]


async def test_the_audit_log_is_let_go_of_from_its_beginning_alone(store: Store) -> None:
    def entry(at: float) -> AuditEntry:
        return AuditEntry(at=at, who="a", kind="", source="192.0.2.1", action="login", target="/x", status=200)

    def seal(item: AuditEntry, previous: str) -> AuditEntry:
        return replace(item, hash=f"{previous}>{item.seq}")

    assert await store.audit_extent(0.0) is None
    await store.append_audit([entry(at) for at in (1.0, 2.0, 9.0, 3.0, 4.0)], seal)
    assert await store.audit_extent(3.0) == AuditExtent(oldest=1, newest=5, young=3)
    assert await store.audit_extent(10.0) == AuditExtent(oldest=1, newest=5, young=None)
    assert await store.audit_checkpoint() is None
    for through in (2, 4):
        await store.prune_audit(through, lambda last: AuditCheckpoint(seq=last.seq, hash=last.hash, seal="s"))
    assert await store.audit_checkpoint() == AuditCheckpoint(seq=4, hash=">1>2>3>4", seal="s")
    assert await store.audit_extent(0.0) == AuditExtent(oldest=5, newest=5, young=5)
    await store.append_audit([entry(5.0)], seal)
    assert [item.hash for item in await store.audit_from(0, 10)] == [">1>2>3>4>5", ">1>2>3>4>5>6"]


async def test_users(store: Store) -> None:
    await store.put_user(user("zoë"))
    await store.put_user(user("admin"), events=[event("password_changed", subject=Subject.USER)])
    changed = user("admin", must_change_password=False, password_expires_at=None, password_hash="$argon2id$new")
    await store.put_user(changed)
    assert await store.users() == (changed, user("zoë"))


async def test_sessions(store: Store) -> None:
    later = session("session-2", created_at=1_760_000_001.0)
    await store.put_session(later)
    await store.put_session(session())
    await store.sessions_seen({"session-2": 1_760_000_500.0, "nobody": 1.0})
    await store.sessions_seen({})
    seen = session("session-2", created_at=1_760_000_001.0, last_seen_at=1_760_000_500.0)
    assert await store.sessions() == (session(), seen)
    await store.delete_sessions(["session-1", "nobody"])
    await store.delete_sessions([])
    assert await store.sessions() == (seen,)


async def test_a_changed_password_ends_the_sessions_of_its_user_alone(store: Store) -> None:
    await store.put_session(session())
    await store.put_session(session("session-2", user="zoë"))
    await store.put_user(user())
    assert len(await store.sessions()) == 2
    await store.put_user(user(), ends_sessions=True, events=[event()])
    assert [kept.user for kept in await store.sessions()] == ["zoë"]


def _make_first_schema(url: str) -> None:
    from alembic import command
    from alembic.config import Config

    from modelgrid.adapters.store_sql.engine import WRITE, make_engine
    from modelgrid.adapters.store_sql.schema import MIGRATIONS

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = make_engine(url)
    with engine.execution_options(**{WRITE: True}).connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    engine.dispose()


async def test_a_database_of_the_first_schema_is_migrated(url: str) -> None:
    _make_first_schema(url)
    _sql(url, "INSERT INTO settings (name, value) VALUES ('owner', '1')")
    store = await open_store(url)
    assert await store.settings(["owner"]) == {"owner": "1"}
    await store.put_session(session())
    assert await store.sessions() == (session(),)
    await store.close()


async def test_node_status(store: Store) -> None:
    assert await store.node_status() == {}
    await store.set_node_status("worker-a", NodeStatus.CORDONED, events=[event("cordoned", subject=Subject.NODE)])
    await store.set_node_status("worker-a", NodeStatus.DRAINING)
    assert await store.node_status() == {"worker-a": NodeStatus.DRAINING}


async def test_settings(store: Store) -> None:
    await store.put_setting("epoch", json.dumps(1))
    await store.put_setting("epoch", json.dumps(2))
    assert await store.settings(["epoch", "absent"]) == {"epoch": "2"}
    assert await store.settings([]) == {}


# --- the whole


async def test_everything_outlives_a_close(url: str) -> None:
    first = await open_store(url)
    await first.put_target(target())
    saved = await first.save_deployment(deployment())
    await first.archive_deployment(record("gone"), events=[event()])
    await first.add_api_key(api_key())
    await first.close()
    await first.close()
    with pytest.raises(StoreUnavailable):
        await first.targets()
    second = await open_store(url)
    assert await second.targets() == (target(revision=1),)
    assert await second.deployments() == (saved,)
    assert await second.history_record("gone") == record("gone")
    assert await second.api_keys() == (api_key(),)
    assert len(await second.events()) == 1
    await second.close()


async def test_text_that_is_not_unicode_is_refused(store: Store) -> None:
    lone = b"\xff".decode("utf-8", "surrogateescape")
    for write in (
        lambda: store.add_events([event(message=lone)]),
        lambda: store.put_target(target(lone)),
        lambda: store.put_setting("s", lone),
    ):
        with pytest.raises(InvalidInput):
            await write()
    await store.put_target(target())
    assert await store.events() == ()


async def test_calls_run_off_the_event_loop_and_may_be_cancelled(store: Store) -> None:
    tasks = [asyncio.create_task(store.put_target(target(f"t{n}"))) for n in range(40)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    stored = {t.name for t in await store.targets()}
    for n, result in enumerate(results):
        if isinstance(result, BaseException):
            assert isinstance(result, asyncio.CancelledError)
        else:
            assert f"t{n}" in stored
    assert {f"t{n}" for n in range(1, 40, 2)} <= stored


async def test_several_processes_may_open_a_new_database_at_once(url: str) -> None:
    stores = await asyncio.gather(*(open_store(url) for _ in range(6)))
    await asyncio.gather(*(store.put_target(target(f"t{n}")) for n, store in enumerate(stores)))
    assert len(await stores[0].targets()) == 6
    await asyncio.gather(*(store.close() for store in stores))


# --- schema


def _sql(url: str, *statements: str) -> None:
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()
    else:
        import psycopg

        with psycopg.connect(url) as connection:
            for statement in statements:
                connection.execute(statement)


async def test_a_newer_schema_is_refused_and_left_alone(url: str) -> None:
    store = await open_store(url)
    await store.put_target(target())
    await store.close()
    _sql(url, "UPDATE modelgrid_schema SET version_num = '9999'")
    with pytest.raises(InvalidConfig, match="schema 9999"):
        await open_store(url)
    _sql(url, f"UPDATE modelgrid_schema SET version_num = '{SCHEMA_VERSION}'")
    again = await open_store(url)
    assert await again.targets() == (target(revision=1),)
    await again.close()


async def test_rows_of_an_older_version_are_read(url: str) -> None:
    """A body lacks the fields that came later, and has one that was dropped."""
    store = await open_store(url)
    body = {"name": "old", "model": "m", "replicas": 1, "origin": "api", "created_at": 1, "updated_at": 2, "was": [1]}
    _sql(url, f"INSERT INTO targets (name, revision, body) VALUES ('old', 4, '{json.dumps(body)}')")
    (found,) = await store.targets()
    assert (found.revision, found.spec, found.updated_by) == (4, type(target().spec)(), "")
    _sql(url, "UPDATE targets SET body = '{\"name\": 1}'")
    with pytest.raises(StoreUnavailable, match="stored Target cannot be read"):
        await store.targets()
    await store.close()


@pytest.mark.parametrize("migrated", [False, True])
async def test_the_tables_are_those_that_the_code_uses(url: str, *, migrated: bool) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from modelgrid.adapters.store_sql.engine import make_engine
    from modelgrid.adapters.store_sql.schema import MIGRATIONS
    from modelgrid.adapters.store_sql.tables import VERSION_TABLE, metadata

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_VERSION]
    if migrated:
        _make_first_schema(url)
    store = await open_store(url)
    await store.close()
    engine = make_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "target_metadata": metadata, "version_table": VERSION_TABLE}
        )
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == SCHEMA_VERSION
    engine.dispose()


async def test_tables_of_somebody_else_are_not_taken_over(url: str) -> None:
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir()
    _sql(url, "CREATE TABLE settings (name VARCHAR PRIMARY KEY)")
    with pytest.raises(InvalidConfig, match="settings"):
        await open_store(url)


@pytest.mark.parametrize("warm", [False, True])
async def test_a_start_loads_no_migration_tool(url: str, *, warm: bool) -> None:
    if warm:
        await (await open_store(url)).close()
    code = (
        "import asyncio, sys\n"
        "from modelgrid.adapters.store_sql import open_store\n"
        f"store = asyncio.run(open_store({url!r}))\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    process = await asyncio.create_subprocess_exec(os.sys.executable, "-c", code)
    assert await process.wait() == 0


# --- what only a file has


async def test_the_sqlite_files_are_private_and_set_up_for_durability(tmp_path: Path) -> None:
    path = tmp_path / "state" / "state.db"
    old_mask = os.umask(0)
    try:
        store = await open_store(f"sqlite:///{path}")
    finally:
        os.umask(old_mask)
    await store.put_target(target())
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        assert (path.parent / name).stat().st_mode & 0o777 == 0o600, name
    assert path.parent.stat().st_mode & 0o077 == 0
    settings = await store._database.read(
        lambda db: [
            db.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    )
    assert settings == ["wal", 2, 1]
    await store.close()
    path.chmod(0o644)
    await (await open_store(f"sqlite:///{path}")).close()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "bad",
    ["", "nonsense", "mysql://localhost/db", "sqlite://", "sqlite:///:memory:", "sqlite:////proc/nowhere/state.db"],
)
async def test_bad_urls_are_refused_with_a_fix(bad: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        await open_store(bad)
    assert refused.value.fix


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"these are my notes, not a database " * 100)
    with pytest.raises(StoreUnavailable, match="damaged"):
        await open_store(f"sqlite:///{path}")
    assert path.read_bytes().startswith(b"these are my notes")


async def test_a_locked_database_is_unavailable_not_hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelgrid.adapters.store_sql import engine

    quick = tuple(p.replace("5000", "50") for p in engine.SQLITE_PRAGMAS)
    monkeypatch.setattr(engine.sqlite_engine, "__kwdefaults__", {"pragmas": quick, "dbapi": None})
    path = tmp_path / "state.db"
    store = await open_store(f"sqlite:///{path}")
    await store.put_target(target())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await store.put_target(target(replicas=5))
    assert [t.replicas for t in await store.targets()] == [2], "readers go on"
    other.execute("COMMIT")
    other.close()
    assert (await store.put_target(target(replicas=5))).revision == 2
    await store.close()


async def test_an_unreachable_postgresql_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "RETRY_SECONDS", 0.3)
    with pytest.raises(StoreUnavailable) as unreachable:
        await open_store(f"postgresql://modelgrid:hunter2@/state?host={tmp_path}")
    assert "hunter2" not in str(unreachable.value) + repr(unreachable.value.details)
