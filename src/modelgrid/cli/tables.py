"""Tables and lists of facts that fit the window: columns are left out or moved below, words are never torn.

Into a pipe every column is there, as wide as its content."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from modelgrid.cli.output import NARROWEST, console, say, short, show, wrapped

WIDE_GAP = 3
NARROW_GAP = 2
NOTHING = "—"


@dataclass(frozen=True, slots=True)
class Column:
    """`drop`: columns with higher numbers are left out first when the window is too narrow; 0 always stays.

    `below`: instead of being left out it stands on a line of its own under the row. `wrap`: may take several lines.
    """

    title: str
    drop: int = 0
    below: bool = False
    wrap: bool = False
    right: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under headings; `empty` says what to do when there are none."""
    listed = [[cell if isinstance(cell, Text) else Text(short(cell)) for cell in row] for row in rows]
    if not listed:
        say(empty)
        return
    width = console.width if console.is_terminal else None
    for line in lay_out(columns, listed, width, console):
        show(line)


def lay_out(
    columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int | None, measure: Console
) -> list[Text]:
    """Return the lines of a table in `width` cells; `None`: as wide as it needs."""
    natural = [max(len(column.title), *(row[i].cell_len for row in rows)) for i, column in enumerate(columns)]
    kept = list(range(len(columns)))
    under: list[int] = []
    gap = WIDE_GAP
    if width is not None:
        gap = WIDE_GAP if _total(natural, kept, WIDE_GAP) <= width else NARROW_GAP
        kept, under = _fitting(columns, rows, natural, width, gap)
        _squeeze(columns, natural, kept, width, gap)
    headings = [Text(column.title.upper(), style="bold dim") for column in columns]
    lines = _lines(columns, headings, natural, kept, gap, measure)
    for row in rows:
        lines += _lines(columns, row, natural, kept, gap, measure)
        for index in under:
            if width is not None and row[index].plain not in {"", NOTHING}:
                parts = wrapped(Text(row[index].plain, style="dim"), width - 2, measure)
                lines += [Text("  ").append_text(part) for part in parts]
    return lines


def _total(widths: Sequence[int], kept: Sequence[int], gap: int) -> int:
    return sum(widths[index] for index in kept) + gap * (len(kept) - 1)


def _fitting(
    columns: Sequence[Column], rows: Sequence[Sequence[Text]], widths: Sequence[int], width: int, gap: int
) -> tuple[list[int], list[int]]:
    """Return the columns that stay and those that move below the rows."""
    kept = list(range(len(columns)))
    under: list[int] = []

    def rank(index: int) -> tuple[bool, int]:
        says_nothing = all(row[index].plain in {"", NOTHING} for row in rows)
        return says_nothing, columns[index].drop

    for index in sorted((i for i in kept if columns[i].drop), key=rank, reverse=True):
        if _total(widths, kept, gap) <= width:
            break
        kept.remove(index)
        if columns[index].below:
            under.append(index)
    for index in sorted(set(range(len(columns))) - {*kept, *under}, key=rank):
        # One wide column left out may have made room for several narrow ones.
        if _total(widths, [*kept, index], gap) <= width:
            kept.append(index)
    return sorted(kept), under


def _squeeze(columns: Sequence[Column], widths: list[int], kept: Sequence[int], width: int, gap: int) -> None:
    """Narrow the columns that may wrap, the widest first, until the table fits or they are as narrow as they get."""
    while (excess := _total(widths, kept, gap) - width) > 0:
        wide = [index for index in kept if columns[index].wrap and widths[index] > NARROWEST]
        if not wide:
            return
        widest = max(wide, key=lambda index: widths[index])
        widths[widest] = max(NARROWEST, widths[widest] - excess)


def _lines(
    columns: Sequence[Column],
    cells: Sequence[Text],
    widths: Sequence[int],
    kept: Sequence[int],
    gap: int,
    measure: Console,
) -> list[Text]:
    parts = {index: wrapped(cells[index], widths[index], measure) for index in kept}
    lines = []
    for number in range(max(len(part) for part in parts.values())):
        line = Text()
        for index in kept:
            part = parts[index][number] if number < len(parts[index]) else Text()
            blank = " " * (widths[index] - part.cell_len)
            line.append_text(Text(blank).append_text(part) if columns[index].right else part.copy().append(blank))
            line.append(" " * gap)
        line.rstrip()
        lines.append(line)
    return lines


def facts(rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values in two columns."""
    listed = [(name, value if isinstance(value, Text) else Text(short(value, 2000))) for name, value in rows]
    indent = max(len(name) for name, _ in listed) + WIDE_GAP
    for name, value in listed:
        parts = [value]
        if console.is_terminal:
            parts = wrapped(value, max(console.width - indent, NARROWEST), console)
        for number, part in enumerate(parts):
            line = Text(f"{name if number == 0 else '':<{indent}}", style="dim")
            line.append_text(part if part.style else Text(part.plain, style="not dim"))
            line.rstrip()
            show(line)


def heading(text: str) -> None:
    """Print a heading after an empty line."""
    show(Text(f"\n{text}", style="bold"))
