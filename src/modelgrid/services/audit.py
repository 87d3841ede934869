"""The one writer of the audit log."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from modelgrid.decide.audit import checkpoint, cleaned, first_broken, is_genuine, prunable, sealed
from modelgrid.domain.audit import AuditBounds, AuditCheckpoint, AuditEntry
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
PRUNED_AT_ONCE = 10_000
"""Entries that one transaction removes: other writers wait for it."""
PRUNE_SECONDS = 3_600.0
ITSELF = "daemon"
"""Who prunes, as the log names it."""
DAY_SECONDS = 86_400.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    entries: int
    """Those that are there and as they were written, from the first."""
    pruned: int
    """Number of the newest of those that were let go of; 0: none was."""
    broken_at: int | None
    """Number of the first entry that was changed or removed; `None`: none was."""
    head: AuditEntry | None
    """The newest entry."""


class AuditService:
    """`load` comes first. `run` keeps the log within its bounds."""

    def __init__(self, store: Store, clock: Clock, secrets: Secrets, bounds: AuditBounds) -> None:
        self._bounds = bounds
        self._store = store
        self._clock = clock
        self._secrets = secrets
        self._key = b""
        self._lock = asyncio.Lock()
        self._whole = asyncio.Lock()
        """Held by whoever needs the beginning of the log to stay."""
        self._grown = 0
        """Entries written since it was pruned."""
        self._waiting: list[AuditEntry] = []
        self._repeats: dict[tuple[str, str, str, int], tuple[float, int]] = {}
        self._due = asyncio.Event()
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
            self._grown += len(written)
        for item in written:
            log.info("audit", seq=item.seq, who=item.who, action=item.action, status=item.status, hash=item.hash)
        if self._grown >= PAGE:
            self._grown = 0
            self._due.set()

    def use(self, bounds: AuditBounds) -> None:
        """Keep the log within these bounds from now on."""
        self._bounds = bounds
        self._due.set()

    async def run(self) -> None:
        """Prune now, every hour, and whenever much was written, until cancelled."""
        while True:
            self._due.clear()
            try:
                await self.prune()
            except ModelGridError as error:
                log.warning("audit log not pruned", error=str(error))
            try:
                async with asyncio.timeout(PRUNE_SECONDS):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def prune(self) -> int:
        """Let go of the oldest entries beyond the bounds, say so in the log, and return how many they were.

        Raises what the store raises."""
        bounds = self._bounds
        async with self._whole:
            extent = await self._store.audit_extent(self._clock.now() - bounds.days * DAY_SECONDS)
            through = prunable(extent, bounds.entries) if extent is not None else 0
            if extent is None or not through:
                return 0
            for last in range(extent.oldest + PRUNED_AT_ONCE - 1, through, PRUNED_AT_ONCE):
                await self._store.prune_audit(last, partial(checkpoint, key=self._key))
            await self._store.prune_audit(through, partial(checkpoint, key=self._key))
        what = f"entries {extent.oldest} to {through}"
        await self.record(who=ITSELF, kind="", source="", action="prune_audit", target=what, status=200)
        return through - extent.oldest + 1

    async def entries(
        self, *, before: int | None, limit: int, who: str | None, action: str | None
    ) -> Sequence[AuditEntry]:
        """Return entries, newest first."""
        return await self._store.audit(before=before, limit=limit, who=who, action=action)

    async def verify(self) -> Verified:
        """Compute the whole chain anew, from its beginning or from where it was let go of."""
        async with self._lock:
            head = self._head
        async with self._whole:
            begin = await self._store.audit_checkpoint()
            if begin is not None and not is_genuine(begin, self._key):
                return Verified(entries=0, pruned=0, broken_at=1, head=None)
            return await self._verified(begin, head)

    async def _verified(self, begin: AuditCheckpoint | None, head: AuditEntry | None) -> Verified:
        pruned, last = begin.seq if begin else 0, None
        while page := await self._store.audit_from(last.seq if last else 0, PAGE):
            broken = first_broken(page, last or begin, self._key)
            if broken is not None:
                return Verified(entries=broken - 1 - pruned, pruned=pruned, broken_at=broken, head=last)
            last = page[-1]
            await asyncio.sleep(0)
        reached = last.seq if last else pruned
        cut = head is not None and reached < head.seq
        return Verified(entries=reached - pruned, pruned=pruned, broken_at=reached + 1 if cut else None, head=last)

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
