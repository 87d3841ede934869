"""The catalog in use: several sources as one, refreshed on request.

The only writer of what the catalog is; readers get immutable values. At start `load` reads what is on this machine
and never the network; a source that fails is a note, and what it gave before stays in use.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from modelgrid.decide.catalog import Catalog, Drift, drift, merge
from modelgrid.domain.errors import ModelGridError, NotFound
from modelgrid.domain.model import CatalogEntry
from modelgrid.ports.catalog import CatalogSource
from modelgrid.ports.clock import Clock

_NO_DRIFT = Drift()


@runtime_checkable
class Peekable(Protocol):
    """A source that can tell what is new without taking it over."""

    def peek(self) -> Coroutine[Any, Any, tuple[CatalogEntry, ...]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """One source as it stands."""

    name: str
    location: str = ""
    """URL or path; empty for the packaged catalog."""
    entries: int = 0
    loaded_at: float | None = None
    """When it last gave entries: read from disk, or confirmed by its server."""
    problem: str = ""
    """Why it could not be read or refreshed the last time it was tried; empty when it could."""
    drift: Drift = _NO_DRIFT
    """What its server has that is not taken over yet (`check`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshOutcome:
    """What a refresh did to one source."""

    source: str
    ok: bool
    problem: str = ""
    changes: Drift = _NO_DRIFT


@dataclass(slots=True)
class _Source:
    source: CatalogSource
    status: SourceStatus
    entries: tuple[CatalogEntry, ...] = field(default_factory=tuple)


class CatalogService:
    """`sources` in order of precedence: an entry of an earlier one hides those of the same id in later ones. The
    operator's own come first, then the registry, then the packaged catalog. Names of sources must differ.

    `on_change` is called after the entries in use changed, with how; it must not block. Calls that read sources
    wait for each other."""

    def __init__(
        self,
        sources: Sequence[CatalogSource],
        clock: Clock,
        on_change: Callable[[Drift], None] | None = None,
    ) -> None:
        self._clock = clock
        self._on_change = on_change
        self._sources = [
            _Source(source, SourceStatus(name=source.name, location=_location(source))) for source in sources
        ]
        _names_differ(sources)
        self._catalog = Catalog()
        self._lock = asyncio.Lock()

    @property
    def catalog(self) -> Catalog:
        """The catalog in use; a value that never changes."""
        return self._catalog

    @property
    def entries(self) -> tuple[CatalogEntry, ...]:
        return self._catalog.entries

    @property
    def sources(self) -> tuple[SourceStatus, ...]:
        return tuple(item.status for item in self._sources)

    @property
    def drift(self) -> Drift:
        """What the last `check` found that is not taken over yet, over all sources."""
        return Drift(
            added=_union(item.status.drift.added for item in self._sources),
            changed=_union(item.status.drift.changed for item in self._sources),
            removed=_union(item.status.drift.removed for item in self._sources),
        )

    def find(self, name: str) -> CatalogEntry | None:
        """Return the entry with this id or alias: as written first, then without regard to case."""
        return self._catalog.find(name)

    def suggest(self, name: str, limit: int = 3) -> tuple[str, ...]:
        """Return the ids of models whose names are close to `name`, closest first."""
        return self._catalog.suggest(name, limit)

    def entry(self, name: str) -> CatalogEntry:
        """Like `find`. Raises `NotFound` with the closest names, in `details["suggestions"]` too."""
        found = self._catalog.find(name)
        if found is not None:
            return found
        close = self._catalog.suggest(name)
        fix = f"Did you mean {' or '.join(close)}?" if close else "`modelgrid model list` shows what there is."
        raise NotFound(f"No catalog knows a model {name!r}.", fix=fix, name=name, suggestions=list(close))

    async def load(self) -> None:
        """Read every source from this machine, without the network. Never raises; repeat it to see edited files."""
        async with self._lock:
            for item in self._sources:
                try:
                    entries = await item.source.load()
                except ModelGridError as error:
                    item.status = replace(item.status, problem=str(error))
                else:
                    self._take(item, entries)
            self._merge()

    async def use(self, sources: Sequence[CatalogSource]) -> None:
        """Read other sources from now on, as `load` does. Never raises; `refresh` asks their servers."""
        _names_differ(sources)
        async with self._lock:
            self._sources = [
                _Source(source, SourceStatus(name=source.name, location=_location(source))) for source in sources
            ]
        await self.load()

    async def refresh(self) -> tuple[RefreshOutcome, ...]:
        """Fetch every source anew, all at once, and use what they give. Never raises: a source that fails says why in
        its outcome and keeps what it had."""
        async with self._lock:
            results = await asyncio.gather(*(_outcome(item.source.refresh()) for item in self._sources))
            outcomes = []
            for item, result in zip(self._sources, results, strict=True):
                if isinstance(result, ModelGridError):
                    item.status = replace(item.status, problem=str(result))
                    outcomes.append(RefreshOutcome(source=item.source.name, ok=False, problem=str(result)))
                else:
                    changes = drift(item.entries, result)
                    self._take(item, result)
                    item.status = replace(item.status, drift=_NO_DRIFT)
                    outcomes.append(RefreshOutcome(source=item.source.name, ok=True, changes=changes))
            self._merge()
            return tuple(outcomes)

    async def check(self) -> Drift:
        """Ask the sources that have a server what they would give, and return how it differs from what is in use.
        Nothing is taken over. Never raises; a source that fails keeps its last known difference."""
        async with self._lock:
            asked = [(item, item.source) for item in self._sources if isinstance(item.source, Peekable)]
            results = await asyncio.gather(*(_outcome(source.peek()) for _, source in asked))
            for (item, _), result in zip(asked, results, strict=True):
                if isinstance(result, ModelGridError):
                    item.status = replace(item.status, problem=str(result))
                else:
                    item.status = replace(item.status, problem="", drift=drift(item.entries, result))
            return self.drift

    def _take(self, item: _Source, entries: tuple[CatalogEntry, ...]) -> None:
        item.entries = entries
        fetched = getattr(item.source, "fetched_at", None)
        item.status = replace(
            item.status,
            entries=len(entries),
            loaded_at=fetched if isinstance(fetched, float) else self._clock.now(),
            problem="",
        )

    def _merge(self) -> None:
        before = self._catalog.entries
        self._catalog = merge(item.entries for item in self._sources)
        changes = drift(before, self._catalog.entries)
        if changes and self._on_change is not None:
            self._on_change(changes)


def _names_differ(sources: Sequence[CatalogSource]) -> None:
    if len({source.name for source in sources}) != len(sources):
        raise ValueError("catalog sources must have different names")


async def _outcome(
    call: Coroutine[Any, Any, tuple[CatalogEntry, ...]],
) -> tuple[CatalogEntry, ...] | ModelGridError:
    try:
        return await call
    except ModelGridError as error:
        return error


def _location(source: CatalogSource) -> str:
    return str(getattr(source, "url", None) or getattr(source, "path", None) or "")


def _union(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(sorted({name for group in groups for name in group}))
