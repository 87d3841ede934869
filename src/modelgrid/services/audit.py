"""The one writer of the audit log."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from modelgrid.decide.audit import cleaned, first_broken, sealed
from modelgrid.domain.audit import AuditEntry
from modelgrid.domain.errors import ModelGridError
from modelgrid.ports.clock import Clock
from modelgrid.ports.secrets import Secrets
from modelgrid.ports.store import Store

KEY_PURPOSE = "audit"
REPEAT_SECONDS = 60.0
"""The same refusal from the same address is recorded no oftener, so that guessing does not fill the disk."""
REPEATED_STATUSES = frozenset({401, 403, 429})
MOST_REPEATS = 1_000
MOST_WAITING = 10_000
"""Entries kept in memory while the store takes none."""
PAGE = 1_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    entries: int
    broken_at: int | None
    """Number of the first entry that was changed or removed; `None`: none was."""
    head: AuditEntry | None
    """The newest entry."""


class AuditService:
    """`load` comes first."""

    def __init__(self, store: Store, clock: Clock, secrets: Secrets) -> None:
        self._store = store
        self._clock = clock
        self._secrets = secrets
        self._key = b""
        self._lock = asyncio.Lock()
        self._waiting: list[AuditEntry] = []
        self._repeats: dict[tuple[str, str, str, int], tuple[float, int]] = {}
        self._head: AuditEntry | None = None
        """The newest entry that this process has written."""

    async def load(self) -> None:
        self._key = await asyncio.to_thread(self._secrets.derive, KEY_PURPOSE)

    async def record(self, *, who: str, kind: str, source: str, action: str, target: str, status: int) -> None:
        """Write an entry; return when it is durable. Never raises: what the store does not take now is logged, kept in
        memory and written with the next entry."""
        entry = AuditEntry(
            at=self._clock.now(),
            who=cleaned(who),
            kind=kind,
            source=cleaned(source),
            action=cleaned(action),
            target=cleaned(target),
            status=status,
        )
        counted = self._counted(entry)
        if counted is None:
            return
        async with self._lock:
            self._waiting = [*self._waiting, counted][-MOST_WAITING:]
            try:
                written = await self._store.append_audit(
                    self._waiting, lambda item, previous: sealed(item, previous, self._key)
                )
            except ModelGridError as error:
                log.warning("audit entry not written", who=counted.who, action=counted.action, error=str(error))
                return
            self._waiting, self._head = [], written[-1]
        for item in written:
            log.info("audit", seq=item.seq, who=item.who, action=item.action, status=item.status, hash=item.hash)

    async def entries(
        self, *, before: int | None, limit: int, who: str | None, action: str | None
    ) -> Sequence[AuditEntry]:
        """Return entries, newest first."""
        return await self._store.audit(before=before, limit=limit, who=who, action=action)

    async def verify(self) -> Verified:
        """Compute the whole chain anew."""
        async with self._lock:
            head = self._head
        last: AuditEntry | None = None
        while page := await self._store.audit_from(last.seq if last else 0, PAGE):
            broken = first_broken(page, last, self._key)
            if broken is not None:
                return Verified(entries=broken - 1, broken_at=broken, head=last)
            last = page[-1]
            await asyncio.sleep(0)
        entries = last.seq if last else 0
        cut = head is not None and entries < head.seq
        return Verified(entries=entries, broken_at=entries + 1 if cut else None, head=last)

    def _counted(self, entry: AuditEntry) -> AuditEntry | None:
        """Return the entry with the number of those left out before it; `None` when it is left out itself."""
        if entry.status not in REPEATED_STATUSES:
            return entry
        key = (entry.source, entry.who, entry.action, entry.status)
        since, count = self._repeats.pop(key, (0.0, 0))
        if entry.at - since < REPEAT_SECONDS:
            self._repeats[key] = (since, count + 1)
            return None
        self._repeats[key] = (entry.at, 0)
        if len(self._repeats) > MOST_REPEATS:
            del self._repeats[next(iter(self._repeats))]
        return replace(entry, repeated=count)
