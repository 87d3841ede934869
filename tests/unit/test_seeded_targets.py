"""Which targets end when a model leaves `models.autoLoad`."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from memory_store import MemoryStore
from reconcile_kit import ENTRY

from modelgrid.config.model import Config
from modelgrid.domain.errors import NotFound
from modelgrid.domain.ids import ModelId
from modelgrid.domain.target import Origin, Target
from modelgrid.services.targets import AUTO_LOAD, TargetRequest, TargetService

MODEL = replace(ENTRY, id=ModelId("org/one"), aliases=("one",))


class Rig:
    """A target service over a catalog that may forget its model."""

    def __init__(self) -> None:
        self.known = True
        catalog = SimpleNamespace(find=self._find, entry=self._entry)
        clock = SimpleNamespace(now=lambda: 1_000.0)
        self.targets = TargetService(
            MemoryStore(), cast("Any", catalog), cast("Any", clock), cast("Any", None), check_mounts=lambda _: None
        )

    def _find(self, name: str) -> Any:
        return MODEL if self.known and name in MODEL.names else None

    def _entry(self, name: str) -> Any:
        if (found := self._find(name)) is None:
            raise NotFound(f"There is no model {name!r}.")
        return found

    async def listed(self, *models: str) -> bool:
        """Seed with these; return whether the target is there afterwards."""
        await self.targets.seed(Config.model_validate({"models": {"autoLoad": models}}))
        return self.targets.find(MODEL.id) is not None


async def test_it_ends_with_the_list_and_not_before() -> None:
    rig = Rig()
    assert await rig.listed("one")
    assert await rig.listed("org/one")
    assert not await rig.listed()


async def test_what_was_brought_up_by_a_request_stays() -> None:
    rig = Rig()
    await rig.targets.want("one")
    assert await rig.listed("one")
    assert await rig.listed(), "the list did not make it"


@pytest.mark.parametrize("change", ["scale", "put"])
async def test_what_somebody_changed_stays(change: str) -> None:
    rig = Rig()
    await rig.listed("one")
    if change == "scale":
        await rig.targets.scale("one", 2, by="admin")
    else:
        await rig.targets.ensure(TargetRequest(model="one"), by="admin")
    assert await rig.listed()


@pytest.mark.parametrize("present", [False, True])
async def test_what_came_with_a_node_stays(present: bool) -> None:
    rig = Rig()
    if present:
        await rig.listed("one")
    seeded_there = Target(
        name=MODEL.id, model=MODEL.id, replicas=1, origin=Origin.CATALOG, created_at=1.0, updated_at=1.0,
        updated_by=AUTO_LOAD,
    )  # fmt: skip
    await rig.targets.adopt(seeded_there, brought=1)
    assert await rig.listed(), "the list of the node that joined is another one"


async def test_nothing_ends_because_the_catalog_forgot_what_an_alias_means() -> None:
    rig = Rig()
    await rig.listed("one")
    rig.known = False
    assert await rig.listed("one")
    assert not await rig.listed()
