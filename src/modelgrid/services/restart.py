"""Restarting the daemon at somebody's request: control asks its supervisor, which replaces every process but itself."""

import os
import signal
from collections.abc import Awaitable, Callable

import structlog

from modelgrid.config.change import Change
from modelgrid.config.model import Config
from modelgrid.domain.errors import Conflict
from modelgrid.domain.event import Subject
from modelgrid.ports.clock import Clock
from modelgrid.ports.store import Store
from modelgrid.services.events import EventMaker
from modelgrid.services.settings import SettingsService

log = structlog.get_logger()


class RestartService:
    """`supervisor` is the process to ask, `None` where nobody would start this one again. `check` raises a
    `ModelGridError` for a configuration with which the new processes would not come up."""

    def __init__(
        self,
        settings: SettingsService,
        store: Store,
        clock: Clock,
        *,
        supervisor: int | None,
        check: Callable[[Config], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._store = store
        self._event = EventMaker(clock, Subject.DAEMON)
        self._supervisor = supervisor
        self._check = check

    async def restart(self, *, by: str) -> tuple[Change, ...]:
        """Ask for it and return what it will make hold. Returns before it begins; engines and requests go on.

        Raises `Conflict` when it would not come up again as it is."""
        await self._settings.look()
        if self._settings.problem:
            raise Conflict(
                f"The daemon would not come up again: {self._settings.problem}", fix="Mend the file, then restart."
            )
        if self._supervisor is None:
            raise Conflict("Nobody would start this process again.", fix="Start it with `modelgrid up`.")
        await self._check(self._settings.config)
        pending = self._settings.pending()
        keys = [change.path for change in pending]
        await self._store.add_events(
            [self._event("daemon", "restart_requested", "restart requested", by=by, keys=keys)]
        )
        log.info("restart requested", by=by, keys=" ".join(keys))
        os.kill(self._supervisor, signal.SIGHUP)
        return pending
