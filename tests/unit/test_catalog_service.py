"""Several sources as one catalog: precedence, refresh, drift, failures."""

import asyncio
from dataclasses import replace

import pytest

from modelgrid.adapters.catalog_packaged import PackagedCatalogSource
from modelgrid.decide.catalog import Drift
from modelgrid.domain.errors import ModelGridError, NotFound
from modelgrid.domain.ids import ModelId
from modelgrid.domain.model import Architecture, Capability, CatalogEntry
from modelgrid.services.catalog import CatalogService


def entry(name: str, *aliases: str, context: int = 8) -> CatalogEntry:
    return CatalogEntry(
        id=ModelId(name),
        aliases=aliases,
        capabilities=(Capability.CHAT,),
        parameters=1,
        dtype="bfloat16",
        context=context,
        default_context=context,
        licence="mit",
        architecture=Architecture(
            weight_bytes=1, layers=1, attention_heads=1, kv_heads=1, head_size=1, source="config.json"
        ),
    )


class Shelf:
    """A source in memory: `kept` is what load returns, `offered` what a refresh brings."""

    def __init__(self, name: str, *kept: CatalogEntry) -> None:
        self.name = name
        self.kept = tuple(replace(e, source=name) for e in kept)
        self.offered = self.kept
        self.problem: ModelGridError | None = None
        self.calls: list[str] = []

    async def load(self) -> tuple[CatalogEntry, ...]:
        self.calls.append("load")
        if self.problem:
            raise self.problem
        return self.kept

    async def refresh(self) -> tuple[CatalogEntry, ...]:
        self.calls.append("refresh")
        await asyncio.sleep(0)
        if self.problem:
            raise self.problem
        self.kept = self.offered
        return self.kept


class Registry(Shelf):
    url = "https://list.example.com/catalog.json"
    fetched_at: float | None = 7.0

    async def peek(self) -> tuple[CatalogEntry, ...]:
        self.calls.append("peek")
        if self.problem:
            raise self.problem
        return self.offered


class FixedClock:
    def now(self) -> float:
        return 5.0

    def monotonic(self) -> float:
        return 5.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


async def test_before_loading_there_is_nothing_and_loading_asks_no_server() -> None:
    registry = Registry("registry", entry("acme/one"))
    service = CatalogService([registry], FixedClock())
    assert service.entries == ()
    await service.load()
    assert [e.id for e in service.entries] == ["acme/one"]
    assert registry.calls == ["load"]


async def test_earlier_sources_hide_later_ones_and_entries_keep_their_source() -> None:
    mine, packaged = (
        Shelf("mine", entry("acme/one", context=1)),
        Shelf("packaged", entry("acme/one"), entry("acme/two")),
    )
    service = CatalogService([mine, packaged], FixedClock())
    await service.load()
    assert {e.id: e.source for e in service.entries} == {"acme/one": "mine", "acme/two": "packaged"}
    assert service.entry("ACME/one").context == 1


async def test_an_unknown_model_comes_with_what_was_probably_meant() -> None:
    service = CatalogService([PackagedCatalogSource()], FixedClock())
    await service.load()
    with pytest.raises(NotFound) as caught:
        service.entry("Qwen/Qwen3-8")
    assert "Qwen/Qwen3-8B" in caught.value.details["suggestions"]
    assert "Did you mean" in caught.value.fix
    with pytest.raises(NotFound, match="model list"):
        service.entry("zzzzzzzzz")


async def test_a_source_that_fails_is_a_note_and_keeps_what_it_had() -> None:
    changes: list[Drift] = []
    registry = Registry("registry", entry("acme/one"))
    service = CatalogService([registry, Shelf("packaged", entry("acme/two"))], FixedClock(), changes.append)
    await service.load()
    registry.problem = ModelGridError("The registry is away.")
    outcomes = await service.refresh()
    assert [(o.source, o.ok) for o in outcomes] == [("registry", False), ("packaged", True)]
    assert service.sources[0].problem == "The registry is away."
    assert service.sources[0].loaded_at == 7.0
    assert len(service.entries) == 2
    registry.problem = None
    await service.refresh()
    assert service.sources[0].problem == ""
    assert len(changes) == 1, "only what changed the entries is told"


async def test_a_failing_source_at_the_first_load_is_a_note() -> None:
    registry = Registry("registry")
    registry.problem = ModelGridError("unreadable")
    service = CatalogService([registry, Shelf("packaged", entry("acme/two"))], FixedClock())
    await service.load()
    assert [e.id for e in service.entries] == ["acme/two"]
    assert service.sources[0].problem == "unreadable"


async def test_check_tells_the_drift_and_refresh_takes_it_over() -> None:
    changes: list[Drift] = []
    registry = Registry("registry", entry("acme/one"), entry("acme/old"))
    service = CatalogService([registry, Shelf("packaged", entry("acme/two"))], FixedClock(), changes.append)
    await service.load()
    registry.offered = (entry("acme/one", context=99), entry("acme/new"))
    expected = Drift(added=("acme/new",), changed=("acme/one",), removed=("acme/old",))
    assert await service.check() == expected
    assert service.drift == expected
    assert service.sources[0].drift == expected
    assert service.entry("acme/one").context == 8, "nothing is taken over by a check"
    [outcome, _] = await service.refresh()
    assert outcome.changes == expected
    assert not service.drift
    assert service.entry("acme/one").context == 99
    assert changes[-1] == expected


async def test_callers_at_once_wait_for_each_other() -> None:
    registry = Registry("registry", entry("acme/one"))
    service = CatalogService([registry], FixedClock())
    await asyncio.gather(service.load(), service.refresh(), service.check(), service.refresh())
    assert registry.calls == ["load", "refresh", "peek", "refresh"]


def test_sources_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="different names"):
        CatalogService([Shelf("a"), Shelf("a")], FixedClock())
