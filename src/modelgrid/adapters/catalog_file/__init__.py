"""A catalog in a file of this machine."""

from modelgrid.adapters.catalog_file.source import FileCatalogSource

__all__ = ["FileCatalogSource"]
