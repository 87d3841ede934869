"""S16: the audit log has every change and every login, on one line each, without secrets; tampering shows."""

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from set_clock import SetClock

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from daemon_under_test import DaemonUnderTest, daemon_in

from modelgrid.adapters.secrets_file import FileSecrets
from modelgrid.adapters.store_sql import SqlStore, open_store
from modelgrid.decide import audit as rules
from modelgrid.decide.audit import LONGEST_FIELD, cleaned
from modelgrid.domain.audit import AuditBounds, AuditExtent
from modelgrid.domain.errors import StorageFull
from modelgrid.services.audit import REPEAT_SECONDS, AuditService

DAY = 86_400.0
WIDE = AuditBounds(days=365, entries=1_000_000)
CHOSEN = "a sentence of my own"


async def opened(folder: Path, clock: SetClock, bounds: AuditBounds = WIDE) -> tuple[SqlStore, AuditService]:
    store = await open_store(f"sqlite:///{folder}/state.db")
    service = AuditService(store, clock, FileSecrets(folder), bounds)
    await service.load()
    return store, service


async def note(service: AuditService, who: str = "admin", status: int = 200, target: str = "/x") -> None:
    await service.record(who=who, kind="session", source="192.0.2.1", action="put_target", target=target, status=status)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET who = 'somebody else' WHERE seq = 3",
        "UPDATE audit SET status = 403 WHERE seq = 3",
        "UPDATE audit SET at = at + 1 WHERE seq = 3",
        "UPDATE audit SET hash = (SELECT hash FROM audit WHERE seq = 2) WHERE seq = 3",
        "DELETE FROM audit WHERE seq = 3",
        "UPDATE audit SET seq = CASE seq WHEN 3 THEN 40 ELSE 3 END WHERE seq IN (3, 4)",
        "DELETE FROM audit WHERE seq >= 3",
    ],
)
async def test_whoever_changes_the_log_is_found_out(tmp_path: Path, statement: str) -> None:
    store, service = await opened(tmp_path, SetClock())
    for n in range(5):
        await note(service, target=f"/targets/{n}")
    sound = await service.verify()
    assert (sound.entries, sound.broken_at) == (5, None)
    with sqlite3.connect(tmp_path / "state.db") as thief:
        thief.execute(statement)
    thief.close()
    assert (await service.verify()).broken_at == 3
    await store.close()


async def test_the_chain_goes_on_after_a_restart(tmp_path: Path) -> None:
    store, service = await opened(tmp_path, SetClock())
    await note(service)
    await store.close()
    store, service = await opened(tmp_path, SetClock())
    await note(service)
    found = await service.verify()
    assert (found.entries, found.broken_at) == (2, None)
    await store.close()


async def pruned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SqlStore, AuditService]:
    """Return a log of entries 1 to 10, one a day, of which 1 to 6 have been let go of, and the entry that says so."""
    monkeypatch.setattr(rules, "LEAST_KEPT", 2)
    clock = SetClock()
    store, service = await opened(folder, clock, AuditBounds(days=4, entries=1_000))
    for n in range(10):
        await note(service, target=f"/targets/{n}")
        clock.at += DAY
    assert await service.prune() == 6
    return store, service


async def test_the_log_is_bounded_and_the_rest_of_it_can_be_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, service = await pruned(tmp_path, monkeypatch)
    found = await service.verify()
    assert (found.pruned, found.entries, found.broken_at) == (6, 5, None)
    newest, *_, oldest = await service.entries(before=None, limit=100, who=None, action=None)
    assert (oldest.seq, newest.seq) == (7, 11), "numbers go on"
    assert (newest.who, newest.action, newest.target) == ("daemon", "prune_audit", "entries 1 to 6")
    assert await service.prune() == 0, "nothing to be done, nothing to be said"
    service.use(AuditBounds(days=365, entries=3))
    assert await service.prune() == 2
    found = await service.verify()
    assert (found.pruned, found.entries, found.broken_at) == (8, 4, None)
    await store.close()


async def test_the_newest_stay_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "LEAST_KEPT", 2)
    clock = SetClock()
    store, service = await opened(tmp_path, clock)
    for n in range(5):
        await note(service, target=f"/targets/{n}")
    clock.at += 100 * 365 * DAY
    assert await service.prune() == 3
    assert (await service.verify()).broken_at is None
    await store.close()


def test_an_old_entry_after_a_young_one_stays() -> None:
    """The clock was set back for a while: what goes is a beginning of the log, never a part out of it."""
    extent = AuditExtent(oldest=11, newest=5_000, young=101)
    assert rules.prunable(extent, 1_000_000) == 100
    assert rules.prunable(extent, 3_000) == 2_000
    assert rules.prunable(AuditExtent(oldest=11, newest=5_000, young=None), 1_000_000) == 4_000
    assert rules.prunable(AuditExtent(oldest=11, newest=5_000, young=11), 1_000_000) == 0
    assert rules.prunable(AuditExtent(oldest=4_500, newest=5_000, young=None), 1_000) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit WHERE seq = 7",
        "DELETE FROM audit WHERE seq <= 8",
        "UPDATE audit SET who = 'somebody else' WHERE seq = 7",
        "DELETE FROM settings WHERE name = 'audit_checkpoint'",
        "UPDATE settings SET value = replace(value, '\"seq\":6', '\"seq\":8') WHERE name = 'audit_checkpoint'",
        "UPDATE settings SET value = json_set(value, '$.seq', 8, '$.hash', (SELECT hash FROM audit WHERE seq = 8))"
        " WHERE name = 'audit_checkpoint'",
        "UPDATE settings SET value = json_remove(value, '$.seal') WHERE name = 'audit_checkpoint'",
    ],
)
async def test_whoever_moves_the_beginning_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    store, service = await pruned(tmp_path, monkeypatch)
    assert (await service.verify()).broken_at is None
    with sqlite3.connect(tmp_path / "state.db") as thief:
        assert thief.execute(statement).rowcount > 0
        if "$.hash" in statement:
            thief.execute("DELETE FROM audit WHERE seq <= 8")
    thief.close()
    assert (await service.verify()).broken_at is not None
    await store.close()


async def test_an_older_beginning_does_not_bring_back_what_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, service = await pruned(tmp_path, monkeypatch)
    older = (await store.settings(["audit_checkpoint"]))["audit_checkpoint"]
    service.use(AuditBounds(days=365, entries=3))
    assert await service.prune() > 0
    await store.put_setting("audit_checkpoint", older)
    assert (await service.verify()).broken_at == 7
    await store.close()


async def test_guessing_does_not_fill_the_log(tmp_path: Path) -> None:
    clock = SetClock()
    store, service = await opened(tmp_path, clock)
    for _ in range(1000):
        await note(service, status=429)
    await note(service, status=200)
    clock.at += REPEAT_SECONDS
    await note(service, status=429)
    found = await service.entries(before=None, limit=10, who=None, action=None)
    assert [(entry.status, entry.repeated) for entry in found] == [(429, 999), (200, 0), (429, 0)]
    await store.close()


async def test_what_the_store_does_not_take_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, service = await opened(tmp_path, SetClock())

    async def full(*_: object) -> None:
        raise StorageFull("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(store, "append_audit", full)
        await note(service, who="first")
    await note(service, who="second")
    found = await service.entries(before=None, limit=10, who=None, action=None)
    assert [entry.who for entry in found] == ["second", "first"]
    assert (await service.verify()).broken_at is None
    await store.close()


def test_fields_are_bounded_and_on_one_line() -> None:
    assert cleaned("a\r\nSet-Cookie: b\x1b[31m\u202e") == "a\\r\\nSet-Cookie: b\\x1b[31m\\u202e"
    assert len(cleaned("x" * 1_000_000)) == LONGEST_FIELD
    assert len(cleaned("\n" * 1_000_000)) == LONGEST_FIELD
    assert cleaned("Zoë") == "Zoë"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    with daemon_in(tmp_path_factory.mktemp("daemon")) as running:
        running.start()
        yield running
        assert running.stop() == 0, running.words()


def test_every_login_and_every_change_is_recorded(daemon: DaemonUnderTest) -> None:
    client = daemon.client
    client.set_password("admin", {"password": CHOSEN})
    viewer = client.generate_token({"label": "eyes"})
    key = client.generate_api_key({"label": "ci"})
    client.put_target("moonshotai/Kimi-K2-Instruct-0905", {"replicas": 0, "trust_remote_code": True})
    base = f"{daemon.console_url}/v1/_ui"
    with httpx.Client(base_url=base, headers={"Origin": daemon.console_url}, trust_env=False, timeout=30) as page:
        page.post("/login", json={"user": "evil\r\nname", "password": "wrong\n"})
        page.post("/login", json={"user": "admin", "password": CHOSEN})
        page.delete("/apikeys/" + key["id"])
        page.delete("/apikeys/nothing%0d%0athere")
        page.post("/apikeys", json={"label": "x"}, headers={"Origin": "https://evil.example"})
        page.post("/logout")
        page.get("/tokens", headers={"Authorization": f"Bearer {viewer['secret']}"})
        page.get("/overview", headers={"Authorization": "Bearer mgt-nonsense"})
        page.get("/overview")
    items = client.list_audit(limit=20)["items"]
    got = [(item["who"], item["kind"], item["action"], item["status"]) for item in reversed(items)]
    assert got == [
        ("local", "local", "set_password", 204),
        ("local", "local", "generate_token", 201),
        ("local", "local", "generate_api_key", 201),
        ("local", "local", "put_target", 200),
        ("evil\\r\\nname", "", "login", 401),
        ("admin", "", "login", 200),
        ("admin", "session", "revoke_api_key", 200),
        ("admin", "session", "revoke_api_key", 404),
        ("anonymous", "", "post", 403),
        ("admin", "session", "logout", 204),
        ("token eyes", "token", "get", 403),
        ("anonymous", "", "get", 401),
    ]
    (trusted,) = [item["target"] for item in items if item["action"] == "put_target"]
    assert trusted == "/v1/_ui/targets/moonshotai/Kimi-K2-Instruct-0905 trust_remote_code"
    assert all(item["source"] == "127.0.0.1" and item["at"] > 0 for item in items)
    page_one = client.list_audit(limit=3, who="admin")
    assert [item["action"] for item in page_one["items"]] == ["logout", "revoke_api_key", "revoke_api_key"]
    older = client.list_audit(limit=3, who="admin", before=page_one["next_before"])
    assert [item["action"] for item in older["items"]] == ["login"]
    assert client.verify_audit()["intact"] is True
    written = daemon.log.read_text() + str(items)
    for secret in (CHOSEN, viewer["secret"], key["secret"], daemon.token):
        assert secret not in written
    assert "\nname" not in written


def test_no_route_that_changes_something_goes_unrecorded(daemon: DaemonUnderTest) -> None:
    """Every call of the published description that is no GET is made, with nothing sensible in it."""
    base = daemon.console_url
    paths = httpx.get(f"{base}/v1/_ui/openapi.json", headers=daemon.headers, trust_env=False).json()["paths"]
    calls = [
        (method.upper(), path.replace("{", "").replace("}", ""), operation["operationId"])
        for path, methods in paths.items()
        for method, operation in methods.items()
        if method != "get" and "restart" not in operation["operationId"]
    ]
    before = daemon.client.list_audit(limit=1)["items"][0]["seq"]
    for method, path, _ in calls:
        httpx.request(method, base + path, headers=daemon.headers, content="{", trust_env=False, timeout=30)
    items = [item for item in daemon.client.list_audit(limit=1000)["items"] if item["seq"] > before]
    assert {item["action"] for item in items} == {operation for _, _, operation in calls}
