"""A catalog that is published on the web."""

from modelgrid.adapters.catalog_http.source import HttpCatalogSource

__all__ = ["HttpCatalogSource"]
