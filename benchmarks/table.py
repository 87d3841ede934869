"""The table of all gateways, for people (Markdown) and for programs (JSON)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(slots=True)
class Row:
    """One gateway: its figures, one mapping a round."""

    name: str
    does: str
    version: str = ""
    rounds: list[Mapping[str, float]] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)
    unavailable: str = ""

    def value(self, figure: str) -> float | None:
        """Return the median over the rounds that have the figure."""
        found = [values[figure] for values in self.rounds if figure in values]
        return median(found) if found else None


@dataclass(frozen=True, slots=True)
class Column:
    """One figure. `over_direct`: shown less what the direct way to the upstream takes."""

    figure: str
    title: str
    show: Callable[[float], str]
    over_direct: bool = False


def _whole(value: float) -> str:
    return f"{value:,.0f}"


COLUMNS = (
    Column("requests_per_second", "req/s, 240 B", _whole),
    Column("cpu_us_per_request", "CPU µs/request", lambda value: f"{value:.1f}"),
    Column("requests_per_second_10k", "req/s, 10 KB", _whole),
    Column("p50_us", "p50 µs", _whole),
    Column("p99_us", "p99 µs", _whole),
    Column("one_connection_p50_us", "1 connection p50 µs", _whole),
    Column("one_connection_p50_us", "over direct µs", _whole, over_direct=True),
    Column("large_p50_us", "added to a 1 MB body, ms", lambda value: f"{value / 1000:.2f}", over_direct=True),
    Column("stream_cpu_us_per_chunk", "stream CPU µs/chunk", lambda value: f"{value:.1f}"),
    Column("idle_stream_kb", "KB per idle stream", lambda value: f"{value:.1f}"),
    Column("rss_start_mb", "RSS at start, MB", lambda value: f"{value:.1f}"),
)
BASE = "nginx"


def shown(row: Row, column: Column, direct: Row) -> float | None:
    """Return the figure of a column."""
    value = row.value(column.figure)
    if value is None or not column.over_direct:
        return value
    least = direct.value(column.figure)
    return None if least is None or row is direct else value - least


def ratio(row: Row, base: Row, column: Column) -> float | None:
    """Return the median, over the rounds that both have, of `row` to `base`: what is noise of a round cancels out."""
    if column.over_direct:
        return None
    found = [a / b for a, b in pairs(row, base, column.figure) if b]
    return median(found) if found else None


def pairs(row: Row, other: Row, figure: str) -> list[tuple[float, float]]:
    """Return the figure of both in each round that has it of both."""
    rounds = zip(row.rounds, other.rounds, strict=False)
    return [(a[figure], b[figure]) for a, b in rounds if figure in a and figure in b]


def markdown(rows: Sequence[Row], direct: Row) -> str:
    """Return figures and, below each, the ratio to nginx of the same round."""
    base = next((row for row in rows if row.name == BASE and row.rounds), None)
    lines = [
        "| | " + " | ".join(column.title for column in COLUMNS) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for row in (direct, *rows):
        if row.unavailable:
            lines.append(f"| {row.name} | not available: {row.unavailable} |" + " |" * (len(COLUMNS) - 1))
            continue
        cells = [_cell(shown(row, column, direct), column) for column in COLUMNS]
        lines.append(f"| {row.name} {row.version} | ".replace("  ", " ") + " | ".join(cells) + " |")
        if base is not None and row is not base and row is not direct:
            ratios = [ratio(row, base, column) for column in COLUMNS]
            shares = ["" if found is None else f"×{found:.2f}" for found in ratios]
            lines.append("| | " + " | ".join(shares) + " |")
    wrong = [f"{row.name}: {step}: {text}" for row in (direct, *rows) for step, text in row.wrong.items()]
    return "\n".join([*lines, "", *(f"Wrong: {text}." for text in wrong)])


def document(rows: Sequence[Row], direct: Row, facts: Mapping[str, str]) -> dict[str, object]:
    """Return everything for programs."""
    base = next((row for row in rows if row.name == BASE and row.rounds), None)
    return {
        "machine": dict(facts),
        "gateways": [
            {
                "name": row.name,
                "does": row.does,
                "version": row.version,
                "unavailable": row.unavailable,
                "rounds": [dict(values) for values in row.rounds],
                "median": {column.figure: row.value(column.figure) for column in COLUMNS},
                "ratio_to_nginx": {column.figure: ratio(row, base, column) for column in COLUMNS} if base else {},
                "wrong": row.wrong,
            }
            for row in (direct, *rows)
        ],
    }


def _cell(value: float | None, column: Column) -> str:
    return "" if value is None else column.show(value)
