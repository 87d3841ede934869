"""Tables fit the window, and leave nothing out where there is none."""

from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from modelgrid.cli.tables import Column, lay_out

MEASURE = Console(file=StringIO(), width=500)
COLUMNS = (
    Column("id"),
    Column("model", drop=2),
    Column("state"),
    Column("note", wrap=True, drop=3),
    Column("size", right=True, drop=1),
    Column("why", drop=4, below=True),
)
ROW = ["llama-abc", "meta-llama/Llama-3.1-8B", "● running", "two words", "5", "because it is so"]


def rows(*lines: list[str]) -> list[list[Text]]:
    return [[Text(cell) for cell in line] for line in lines]


def plain(width: int | None, *lines: list[str]) -> list[str]:
    return [line.plain for line in lay_out(COLUMNS, rows(*lines), width, MEASURE)]


def test_wide_enough_shows_every_column():
    assert plain(200, ROW) == [
        "ID          MODEL                     STATE       NOTE        SIZE   WHY",
        "llama-abc   meta-llama/Llama-3.1-8B   ● running   two words      5   because it is so",
    ]


def test_narrow_moves_one_below_and_leaves_out_the_least_important():
    assert plain(66, ROW) == [
        "ID         MODEL                    STATE      NOTE       SIZE",
        "llama-abc  meta-llama/Llama-3.1-8B  ● running  two words     5",
        "  because it is so",
    ]
    assert plain(40, ROW) == [
        "ID         STATE      NOTE       SIZE",
        "llama-abc  ● running  two words     5",
        "  because it is so",
    ]
    assert plain(24, ROW) == ["ID         STATE", "llama-abc  ● running", "  because it is so"]


def test_what_says_nothing_goes_first_and_no_empty_line_comes_below():
    silent = [*ROW[:1], "—", *ROW[2:5], ""]
    assert plain(40, silent) == ["ID         STATE      NOTE       SIZE", "llama-abc  ● running  two words     5"]


def test_without_a_window_nothing_is_cut_or_moved():
    long = ["x" * 300, *ROW[1:]]
    [_, line] = plain(None, long)
    assert "x" * 300 in line
    assert line.endswith("because it is so")


def test_wide_characters_are_measured_in_cells():
    [_, first, second] = plain(200, ["模型", *ROW[1:]], ["ab", *ROW[1:]])
    assert first.index("meta") + 2 == second.index("meta")


WORDS = st.text(st.sampled_from("abc "), max_size=40).map(str.strip)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS, WORDS, WORDS, WORDS), min_size=1, max_size=4), st.integers(90, 200))
def test_lines_stay_in_the_window_and_end_without_blanks(cells, width):
    lines = plain(width, *(list(row) for row in cells))
    assert all(len(line) <= width for line in lines)
    assert all(line == line.rstrip() for line in lines)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS, WORDS, WORDS, WORDS), min_size=1, max_size=4))
def test_into_a_pipe_there_is_one_line_per_row_with_every_cell(cells):
    lines = plain(None, *(list(row) for row in cells))
    assert len(lines) == 1 + len(cells)
    for row, line in zip(cells, lines[1:], strict=True):
        assert all(cell in line for cell in row)
