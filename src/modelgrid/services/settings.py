"""The configuration while the daemon runs: what the file says, what holds, and how one becomes the other.

The daemon's only writer of config.json. The file belongs to people, too: it is looked at every few seconds and before
each answer and each write, and a file that is refused leaves the last good configuration in force.
"""

import asyncio
import errno
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import structlog

from modelgrid.config.change import Change, changes, keep_secrets, merge, with_keys
from modelgrid.config.file import dump, parse_config, put_in_place, read_text, stage_rewrite
from modelgrid.config.keys import LIVE_KEYS
from modelgrid.config.model import Config
from modelgrid.domain.errors import Conflict, InvalidConfig, ModelGridError, PreconditionFailed, StorageFull
from modelgrid.domain.event import Subject
from modelgrid.ports.clock import Clock
from modelgrid.ports.store import Store
from modelgrid.services.events import EventMaker, Notifier

LOOK_SECONDS = 2.0
_FULL = {errno.ENOSPC, errno.EDQUOT}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Applier:
    """Makes some keys hold in the running daemon."""

    keys: Collection[str]
    apply: Callable[[Config], Awaitable[None]]
    """Gets the configuration that is to hold; raises `ModelGridError` when it cannot, and is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patched:
    """What a patch did, or with `dry_run` would do."""

    config: Config
    diff: tuple[Change, ...]
    pending: tuple[Change, ...]
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """The file as it was last read."""

    content: tuple[str, bool]
    """Its text (empty when it cannot be read), and whether it is there."""
    config: Config
    """The last good one."""
    problem: str = ""
    """Why the text is refused; empty when `config` is what it says."""
    errors: Sequence[Mapping[str, str]] = ()

    @property
    def etag(self) -> str:
        text, exists = self.content
        return sha256(text.encode()).hexdigest()[:32] if exists else "absent"


class SettingsService:
    """`running` is the configuration that the other services were made with; `on_disk` the file's, which differs from
    it only where the supervisor could not follow. `check` raises what a configuration asks for in vain.

    `watch` is the loop."""

    def __init__(
        self,
        *,
        path: Path,
        on_disk: Config,
        running: Config,
        store: Store,
        clock: Clock,
        appliers: Sequence[Applier],
        check: Callable[[Config], Awaitable[None]],
    ) -> None:
        covered = [key for applier in appliers for key in applier.keys]
        if sorted(covered) != sorted(LIVE_KEYS):
            raise AssertionError(f"appliers and the table of live keys differ in {set(covered) ^ LIVE_KEYS}")
        self.path = path
        self.running = running
        self._file = _File(content=("{}", False), config=on_disk)
        self._store = store
        self._clock = clock
        self._appliers = appliers
        self._check = check
        self._event = EventMaker(clock, Subject.DAEMON)
        self._lock = asyncio.Lock()
        self._troubles: dict[str, str] = {}
        """Why a live key does not hold yet, by key."""
        self.changed = Notifier()

    async def load(self) -> None:
        """Read the file as it is now. Comes first."""
        content = await asyncio.to_thread(_read, self.path)
        self._file = _File(content=content, config=parse_config(content[0], source=str(self.path)))

    # what it says

    @property
    def config(self) -> Config:
        """The last good configuration of the file; where it differs from `running`, `pending` says so."""
        return self._file.config

    @property
    def etag(self) -> str:
        """Names the file's present content."""
        return self._file.etag

    @property
    def exists(self) -> bool:
        return self._file.content[1]

    @property
    def problem(self) -> str:
        """Why the file is refused as it is; empty when it is not."""
        return self._file.problem

    @property
    def errors(self) -> Sequence[Mapping[str, str]]:
        return self._file.errors

    def pending(self) -> tuple[Change, ...]:
        """Return where the file differs from what holds: `before` is running, `after` is in the file."""
        return changes(self.running, self._file.config)

    def problems(self) -> tuple[str, ...]:
        """Return in sentences what somebody should mend."""
        refused = (f"{self._file.problem} The last good configuration holds.",) if self._file.problem else ()
        return (*refused, *dict.fromkeys(self._troubles.values()))

    async def look(self) -> None:
        """Take over what was done to the file by hand. Never raises."""
        async with self._lock:
            await self._look()

    async def watch(self) -> None:
        """Look at the file now and then, until cancelled."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            await self.look()

    # changes

    async def patch(
        self, patch: Mapping[str, Any], *, by: str, etags: Collection[str] | None, dry_run: bool
    ) -> Patched:
        """Apply a JSON merge patch to the file and to the running daemon, as far as it can follow.

        `etags`: contents of the file that the caller has seen; `None`: any. Raises `PreconditionFailed` when it is
        another, `InvalidConfig` with `details["errors"]`, `Conflict` when the file cannot be patched or written,
        `StorageFull`. Nothing has changed then."""
        async with self._lock:
            await self._look()
            if etags is not None and self.etag not in etags:
                raise self._other_content()
            before = _document(self._file)
            merged, config = self._checked(before, patch)
            await self._check(config)
            diff = changes(self._file.config, config)
            if dry_run:
                holds = with_keys(self.running, config, LIVE_KEYS)
                return Patched(config=config, diff=diff, pending=changes(holds, config), etag=self.etag)
            if merged != before:
                await self._write(dump(merged), [change.path for change in diff], by)
                self._file = _File(content=(dump(merged), True), config=config)
                await self._apply()
                self.changed.notify()
            return Patched(config=config, diff=diff, pending=self.pending(), etag=self.etag)

    def _checked(self, before: Mapping[str, Any], patch: Mapping[str, Any]) -> tuple[dict[str, Any], Config]:
        """Return the patched document and what it means. Raises `InvalidConfig`."""
        try:
            merged = keep_secrets(merge(before, patch), before)
            return merged, parse_config(dump(merged), source="The configuration")
        except InvalidConfig as error:
            raise InvalidConfig(error.message, fix=error.fix, errors=errors_of(error)) from None

    async def _write(self, text: str, keys: Sequence[str], by: str) -> None:
        """Write the file and record it. What needs space comes first, so that a full disk changes nothing."""
        said = f"{', '.join(keys) or 'nothing that differs'} set in {self.path.name}"
        event = self._event("config", "config_changed", said, by=by, keys=list(keys))
        try:
            staged, real = await asyncio.to_thread(stage_rewrite, self.path, text)
            try:
                await self._store.add_events([event])
                await self._must_be_as_read()
            except BaseException:
                staged.unlink(missing_ok=True)
                raise
            await asyncio.to_thread(put_in_place, staged, real)
        except OSError as error:
            if error.errno in _FULL:
                raise StorageFull(
                    f"{self.path} could not be written: the disk is full.", fix="Free space there; nothing was changed."
                ) from error
            raise Conflict(
                f"{self.path} cannot be written by the daemon: {error.strerror}.",
                fix="Give its user the file and its folder, or change the file with `modelgrid config set`.",
            ) from error
        log.info("configuration changed", keys=" ".join(keys), by=by)

    async def _must_be_as_read(self) -> None:
        if await asyncio.to_thread(_read, self.path) != self._file.content:
            raise self._other_content()

    def _other_content(self) -> PreconditionFailed:
        return PreconditionFailed(
            f"{self.path.name} was changed meanwhile, by hand or by somebody else.",
            fix="Read it again and repeat the change.",
            etag=self.etag,
        )

    async def _look(self) -> None:
        try:
            found = await asyncio.to_thread(_read, self.path)
        except InvalidConfig as error:
            self._refuse(("", True), error)
            return
        if found != self._file.content:
            try:
                config = parse_config(found[0], source=str(self.path))
            except InvalidConfig as error:
                self._refuse(found, error)
                return
            keys = [change.path for change in changes(self._file.config, config)]
            self._file = _File(content=found, config=config)
            log.info("configuration file changed by hand", keys=" ".join(keys))
            self.changed.notify()
        await self._apply()

    def _refuse(self, content: tuple[str, bool], error: InvalidConfig) -> None:
        if error.message != self._file.problem:
            log.warning("configuration file is refused", error=str(error))
        if content != self._file.content:
            self._file = _File(
                content=content, config=self._file.config, problem=error.message, errors=errors_of(error)
            )
            self.changed.notify()

    async def _apply(self) -> None:
        """Make the live keys of the file hold. What cannot be applied is a problem and is tried again."""
        wanted = self._file.config
        differing = {change.path for change in changes(self.running, wanted)} & LIVE_KEYS
        for applier in self._appliers:
            keys = differing & set(applier.keys)
            if not keys:
                continue
            holds = with_keys(self.running, wanted, keys)
            try:
                await applier.apply(holds)
            except ModelGridError as error:
                self._troubles |= dict.fromkeys(keys, f"{', '.join(sorted(keys))} could not be applied: {error}")
                continue
            self.running = holds
            log.info("configuration applied", keys=" ".join(sorted(keys)))
        still = {change.path for change in changes(self.running, wanted)}
        self._troubles = {key: said for key, said in self._troubles.items() if key in still}


def errors_of(error: ModelGridError) -> list[dict[str, str]]:
    """Return the problems of a refused configuration in the form that a form shows beside its fields."""
    return [
        {**problem, "message": f"{problem['path']} is {problem['value']}: {problem['expected']}"}
        for problem in error.details.get("problems", ())
    ]


def refused(path: str, value: Any, expected: str, *, fix: str = "") -> InvalidConfig:
    """Return the refusal of one key's value, in the shape that the model's own refusals have."""
    problem = {"path": path, "value": json.dumps(value, default=str)[:120], "expected": expected}
    told = InvalidConfig(f"The configuration is refused: {path}: {expected}.", fix=fix)
    told.details = {"errors": errors_of(InvalidConfig("", problems=[problem]))}
    return told


def _read(path: Path) -> tuple[str, bool]:
    exists = path.exists()
    return (read_text(path, must_exist=True), True) if exists else ("{}", False)


def _document(file: _File) -> dict[str, Any]:
    """Return the file as it is written, with the keys that it has."""
    try:
        document = json.loads(file.content[0])
    except json.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise Conflict(
            f"The file cannot be changed here as it is: {file.problem}",
            fix="Mend it by hand; `modelgrid config validate` checks it.",
        )
    return document
