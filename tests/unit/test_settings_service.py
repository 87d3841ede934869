"""The file belongs to people and to the daemon: what each does is noticed, checked and never lost."""

import errno
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from modelgrid.adapters.clock_system import SystemClock
from modelgrid.config.keys import LIVE_KEYS
from modelgrid.config.model import REDACTED, Config
from modelgrid.domain.errors import Conflict, InvalidConfig, PreconditionFailed, RuntimeUnavailable, StorageFull
from modelgrid.services import settings as module
from modelgrid.services.settings import Applier, SettingsService, refused


class Store:
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.full = False
        self.meanwhile: Any = None

    async def add_events(self, events: Sequence[Any]) -> None:
        if self.meanwhile:
            self.meanwhile()
        if self.full:
            raise StorageFull("full")
        self.events += events


class Rig:
    def __init__(self, folder: Path, text: str | None = '{"api": {"port": 9000}}') -> None:
        self.path = folder / "config.json"
        if text is not None:
            self.path.write_text(text)
        self.store: Any = Store()
        self.applied: list[Config] = []
        self.broken = False
        config = Config.model_validate_json(text or "{}")
        self.settings = SettingsService(
            path=self.path,
            on_disk=config,
            running=config,
            store=self.store,
            clock=SystemClock(),
            appliers=(Applier(keys=LIVE_KEYS, apply=self._apply),),
            check=self._check,
        )

    async def _apply(self, config: Config) -> None:
        if self.broken:
            raise RuntimeUnavailable("it is broken")
        self.applied.append(config)

    async def _check(self, config: Config) -> None:
        if config.node_name == "refused":
            raise refused("nodeName", "refused", "another name")

    async def patch(self, patch: dict[str, Any], etag: str | None = None, *, dry_run: bool = False) -> Any:
        return await self.settings.patch(patch, by="somebody", etags=etag and {etag}, dry_run=dry_run)


@pytest.fixture
async def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path)
    await made.settings.load()
    return made


async def test_a_live_key_holds_at_once_and_the_other_waits(rig: Rig) -> None:
    done = await rig.patch({"api": {"rateLimit": 5, "workers": 2}})
    assert json.loads(rig.path.read_text()) == {"api": {"port": 9000, "rateLimit": 5, "workers": 2}}
    assert rig.applied[-1].api.rate_limit == rig.settings.running.api.rate_limit == 5
    assert rig.settings.running.api.workers == 1
    assert [(c.path, c.before, c.after) for c in done.pending] == [("api.workers", 1, 2)]
    assert done.etag == rig.settings.etag
    (event,) = rig.store.events
    assert (event.kind, event.by, event.data["keys"]) == (
        "config_changed",
        "somebody",
        ["api.workers", "api.rateLimit"],
    )


async def test_null_puts_the_default_back(rig: Rig) -> None:
    await rig.patch({"api": {"rateLimit": 5}})
    await rig.patch({"api": {"rateLimit": None, "port": None}})
    assert json.loads(rig.path.read_text()) == {"api": {}}
    assert rig.settings.running.api.rate_limit is None


async def test_a_dry_run_tells_and_does_nothing(rig: Rig) -> None:
    before = rig.path.read_text()
    done = await rig.patch({"api": {"rateLimit": 5, "workers": 2}}, dry_run=True)
    assert [change.path for change in done.diff] == ["api.workers", "api.rateLimit"]
    assert [change.path for change in done.pending] == ["api.workers"]
    assert (rig.path.read_text(), rig.applied, rig.store.events) == (before, [], [])
    assert done.etag == rig.settings.etag


async def test_what_changes_nothing_writes_nothing(rig: Rig) -> None:
    before = rig.path.stat().st_mtime_ns
    assert (await rig.patch({"api": {"port": 9000}})).diff == ()
    assert rig.path.stat().st_mtime_ns == before
    assert rig.store.events == []


@pytest.mark.parametrize("patch", [{"api": {"port": 0}}, {"nodeName": "refused"}, {"zzz": 1}, {"api": 1}])
async def test_a_refusal_names_the_key_and_changes_nothing(rig: Rig, patch: dict[str, Any]) -> None:
    before = rig.path.read_text()
    with pytest.raises(InvalidConfig) as caught:
        await rig.patch(patch)
    for error in caught.value.details["errors"]:
        assert set(error) == {"path", "message", "value", "expected"}
    assert rig.path.read_text() == before
    assert rig.store.events == []


async def test_the_file_has_to_be_the_one_that_was_read(rig: Rig) -> None:
    etag = rig.settings.etag
    await rig.patch({"api": {"rateLimit": 5}}, etag)
    with pytest.raises(PreconditionFailed):
        await rig.patch({"api": {"rateLimit": 6}}, etag)
    rig.path.write_text('{"api": {"port": 9000, "rateLimit": 8}}')
    with pytest.raises(PreconditionFailed):
        await rig.patch({"api": {"rateLimit": 6}}, rig.settings.etag)
    assert json.loads(rig.path.read_text())["api"]["rateLimit"] == 8


async def test_an_edit_by_hand_is_kept_and_taken_over(rig: Rig) -> None:
    rig.path.write_text('{"api": {"port": 9000, "cors": ["https://a.example"]}, "nodeName": "other"}')
    await rig.patch({"api": {"rateLimit": 5}})
    assert json.loads(rig.path.read_text()) == {
        "api": {"port": 9000, "cors": ["https://a.example"], "rateLimit": 5},
        "nodeName": "other",
    }
    assert rig.settings.running.api.cors == ("https://a.example",)
    assert [change.path for change in rig.settings.pending()] == ["nodeName"]


async def test_an_edit_in_the_last_moment_is_not_overwritten(rig: Rig) -> None:
    rig.store.meanwhile = lambda: rig.path.write_text('{"api": {"port": 9009}}')
    with pytest.raises(PreconditionFailed):
        await rig.patch({"api": {"rateLimit": 5}})
    assert json.loads(rig.path.read_text()) == {"api": {"port": 9009}}
    assert [item.name for item in rig.path.parent.iterdir()] == ["config.json"]


@pytest.mark.parametrize("text", ["{", "", "[]", '{"api": {"port": 0}}', '{"zzz": 1}'])
async def test_a_refused_file_is_a_problem_and_the_last_good_one_holds(rig: Rig, text: str) -> None:
    rig.path.write_text(text)
    await rig.settings.look()
    (problem,) = rig.settings.problems()
    assert "last good configuration" in problem
    assert rig.settings.config.api.port == rig.settings.running.api.port == 9000
    assert rig.settings.pending() == ()
    rig.path.write_text('{"api": {"port": 9000}}')
    await rig.settings.look()
    assert rig.settings.problems() == ()


async def test_a_file_that_is_no_json_is_not_patched(rig: Rig) -> None:
    rig.path.write_text("{")
    with pytest.raises(Conflict):
        await rig.patch({"api": {"rateLimit": 5}})
    assert rig.path.read_text() == "{"


async def test_a_refused_file_can_be_mended_here(rig: Rig) -> None:
    rig.path.write_text('{"api": {"port": 0}}')
    await rig.patch({"api": {"port": 9000}})
    assert rig.settings.problems() == ()
    assert json.loads(rig.path.read_text()) == {"api": {"port": 9000}}


async def test_what_cannot_be_applied_is_a_problem_and_tried_again(rig: Rig) -> None:
    rig.broken = True
    await rig.patch({"api": {"rateLimit": 5}})
    assert "it is broken" in rig.settings.problems()[0]
    assert rig.settings.running.api.rate_limit is None
    rig.broken = False
    await rig.settings.look()
    assert rig.settings.problems() == ()
    assert rig.settings.running.api.rate_limit == 5


async def test_a_full_disk_changes_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rig.path.read_text()
    rig.store.full = True
    with pytest.raises(StorageFull):
        await rig.patch({"api": {"rateLimit": 5}})
    rig.store.full = False

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "stage_rewrite", no_space)
    with pytest.raises(StorageFull):
        await rig.patch({"api": {"rateLimit": 5}})
    assert rig.path.read_text() == before
    assert [item.name for item in rig.path.parent.iterdir()] == ["config.json"]
    assert rig.store.events == []


async def test_a_file_that_may_not_be_written_says_so(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(module, "stage_rewrite", denied)
    with pytest.raises(Conflict, match="Permission denied"):
        await rig.patch({"api": {"rateLimit": 5}})


async def test_no_file_is_made_by_the_first_change(tmp_path: Path) -> None:
    rig = Rig(tmp_path, None)
    await rig.settings.load()
    assert (rig.settings.exists, rig.settings.etag) == (False, "absent")
    await rig.patch({"api": {"rateLimit": 5}}, "absent")
    assert rig.settings.exists
    assert rig.path.stat().st_mode & 0o777 == 0o600


async def test_a_placeholder_keeps_the_secret(tmp_path: Path) -> None:
    rig = Rig(tmp_path, '{"cluster": {"sharedSecret": "correct-horse-battery"}}')
    await rig.settings.load()
    await rig.patch({"cluster": {"sharedSecret": REDACTED, "heartbeatInterval": 2}})
    assert json.loads(rig.path.read_text())["cluster"]["sharedSecret"] == "correct-horse-battery"


async def _anything(_: Config) -> None:
    pass


def test_a_live_key_without_an_applier_is_a_defect(tmp_path: Path) -> None:
    store: Any = Store()
    with pytest.raises(AssertionError, match="logLevel"):
        SettingsService(
            path=tmp_path / "config.json",
            on_disk=Config(),  # type: ignore[call-arg]
            running=Config(),  # type: ignore[call-arg]
            store=store,
            clock=SystemClock(),
            appliers=(),
            check=_anything,
        )
