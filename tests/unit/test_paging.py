"""Pages: every row once, in order, whatever comes and goes between two pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.api.paging import Mark, mark_text, page_after, parse_mark
from modelgrid.domain.errors import InvalidInput

MARKS = st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20))


@given(MARKS)
def test_a_mark_comes_back_as_it_went(mark: Mark) -> None:
    assert parse_mark(mark_text(mark), "after") == mark


@pytest.mark.parametrize("text", ["", "~", "1", "x~a", "nan~a", "inf~a", "-inf~a", "1e999~a"])
def test_what_was_never_given_out_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_mark(text, "before")
    assert refused.value.details["path"] == "before"
    assert "next_before" in refused.value.fix


def walk(rows: list[Mark], limit: int, between: dict[int, list[Mark]] | None = None) -> list[Mark]:
    seen: list[Mark] = []
    after: str | None = None
    for number in range(1_000):
        page, after = page_after(rows, lambda row: row, limit, after)
        seen += page
        if after is None:
            return seen
        rows = (between or {}).get(number, rows)
    raise AssertionError("there is no end")


@given(st.sets(MARKS, max_size=30), st.integers(min_value=1, max_value=7))
def test_pages_hold_every_row_once_in_order(rows: set[Mark], limit: int) -> None:
    assert walk(list(rows), limit) == sorted(rows)


@given(st.sets(MARKS, min_size=4, max_size=30), st.data())
def test_a_row_that_goes_takes_no_other_with_it(rows: set[Mark], data: st.DataObject) -> None:
    ordered = sorted(rows)
    gone = data.draw(st.sampled_from(ordered))
    seen = walk(ordered, 2, {0: [row for row in ordered if row != gone]})
    assert set(seen) >= rows - {gone}
    assert len(seen) == len(set(seen))


def test_a_full_last_page_has_none_after_it() -> None:
    rows = [(float(n), "x") for n in range(4)]
    _, after = page_after(rows, lambda row: row, 2, None)
    page, end = page_after(rows, lambda row: row, 2, after)
    assert (page, end) == (rows[2:], None)
