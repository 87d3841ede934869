"""The curated catalog that ships in the package."""

from modelgrid.adapters.catalog_packaged.source import PackagedCatalogSource

__all__ = ["PackagedCatalogSource"]
