import asyncio
from importlib import resources

from modelgrid.decide.catalog import decode
from modelgrid.domain.model import CatalogEntry

CATALOG_FILE = "catalog.json"
SCHEMA_FILE = "catalog.schema.json"


class PackagedCatalogSource:
    """Implements `ports.catalog.CatalogSource` over the file in this folder, which never changes while we run."""

    def __init__(self, name: str = "packaged") -> None:
        self.name = name
        self._entries: tuple[CatalogEntry, ...] | None = None

    async def load(self) -> tuple[CatalogEntry, ...]:
        if self._entries is None:
            self._entries = await asyncio.to_thread(_read, self.name)
        return self._entries

    async def refresh(self) -> tuple[CatalogEntry, ...]:
        return await self.load()


def _read(source: str) -> tuple[CatalogEntry, ...]:
    return decode(resources.files(__package__).joinpath(CATALOG_FILE).read_bytes(), source=source)
