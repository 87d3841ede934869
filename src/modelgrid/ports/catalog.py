from typing import Protocol

from modelgrid.domain.model import CatalogEntry


class CatalogSource(Protocol):
    """One place that model entries come from: the packaged catalog, a registry URL, a file."""

    name: str
    """Shown as the entry's `source`."""

    async def load(self) -> tuple[CatalogEntry, ...]:
        """Return the last good entries without asking the network: packaged, cached or on disk."""
        ...

    async def refresh(self) -> tuple[CatalogEntry, ...]:
        """Fetch anew and keep the result as the last good copy.

        Raises `ModelGridError` when the source cannot be reached or its content is refused; the last good
        copy then stays what `load` returns."""
        ...
