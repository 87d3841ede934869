"""Lists that the daemon gives page by page."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Row = TypeVar("Row")


def every(ask: Callable[[str | None], Mapping[str, Any]], rows: Callable[[Any], list[Row]]) -> list[Row]:
    """Return the rows of all pages, oldest first. `ask` gets where a page begins, `None` for the first."""
    found: list[Row] = []
    after: str | None = None
    while True:
        page = ask(after)
        found += rows(page)
        after = page["next_after"]
        if after is None:
            return found
