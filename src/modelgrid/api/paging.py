"""Pages of lists that grow, alike everywhere: `limit` bounds a page, the answer's `next_after` (of lists that begin
with the oldest) or `next_before` (newest first) goes into the next call under `after` or `before`, null ends the list.

A list in the order of time pages by a mark: the time and the id of the last row of a page. What comes or goes between
two pages moves nothing else into or out of the next one, and two rows of the same moment are told apart."""

import math
from collections.abc import Callable, Iterable
from typing import Annotated, TypeVar

from fastapi import Query

from modelgrid.domain.errors import InvalidInput

Row = TypeVar("Row")
Mark = tuple[float, str]

LONGEST_MARK = 300
MostRows = Annotated[int, Query(ge=1, le=5_000, description="No more than so many.")]
MarkText = Annotated[
    str | None, Query(max_length=LONGEST_MARK, description="`next_after` or `next_before` of the page before.")
]


def mark_text(mark: Mark) -> str:
    return f"{mark[0]!r}~{mark[1]}"


def parse_mark(text: str, parameter: str) -> Mark:
    """Return the mark. Raises `InvalidInput` for what was never given out."""
    at, tilde, name = text.partition("~")
    try:
        moment = float(at)
    except ValueError:
        moment = math.nan
    if not tilde or not math.isfinite(moment):
        raise InvalidInput(
            f"`{parameter}` is no place in this list.",
            fix=f"Give what the page before has in `next_{parameter}`, or leave it out for the first page.",
            path=parameter,
        )
    return moment, name


def page_after(
    rows: Iterable[Row], mark: Callable[[Row], Mark], limit: int, after: str | None
) -> tuple[list[Row], str | None]:
    """Return the first `limit` rows after a mark, oldest first, and where the next page begins; `None`: nowhere."""
    ordered = sorted(rows, key=mark)
    if after is not None:
        begin = parse_mark(after, "after")
        ordered = [row for row in ordered if mark(row) > begin]
    page = ordered[:limit]
    return page, mark_text(mark(page[-1])) if len(ordered) > limit else None
