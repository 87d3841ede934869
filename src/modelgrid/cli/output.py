"""How results are shown: tables for people, `--json` for machines. What came from elsewhere is shown as text only."""

import json
import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.units import format_duration

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

console = Console(highlight=False, emoji=False, markup=False)
errors = Console(stderr=True, highlight=False, emoji=False, markup=False)

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

STATE_STYLES = {
    "running": ("●", "green"),
    "ready": ("●", "green"),
    "active": ("●", "green"),
    "ok": ("●", "green"),
    "pending": ("◐", "yellow"),
    "pulling": ("◐", "cyan"),
    "starting": ("◐", "cyan"),
    "restarting": ("▲", "yellow"),
    "warning": ("▲", "yellow"),
    "draining": ("◇", "magenta"),
    "cordoned": ("◇", "magenta"),
    "stopping": ("◇", "magenta"),
    "stopped": ("○", "dim"),
    "revoked": ("○", "dim"),
    "expired": ("○", "dim"),
    "failed": ("✕", "red"),
    "error": ("✕", "red"),
}
"""Shape, word and colour of every status: never colour alone."""


def clean(text: object) -> str:
    """Return text without terminal escapes, control characters and bidirectional overrides."""
    return _CONTROL.sub("", str(text).replace("\n", " ").replace("\t", " "))


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False) + "\n")


def status(word: str) -> Text:
    shape, style = STATE_STYLES.get(word, ("◌", ""))
    return Text(f"{shape} {clean(word)}", style=style)


def ago(at: float | None) -> str:
    """Return how long ago a Unix time was, as `kubectl` shows ages; `—` when it never was."""
    return "—" if at is None else format_duration(max(0.0, time.time() - at))


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under headings in the manner of `docker ps`; `empty` says what to do when there are none.

    Into a pipe the columns are as wide as their content: nothing is ever cut off there."""
    listed = [[cell if isinstance(cell, Text) else Text(clean(cell)) for cell in row] for row in rows]
    if not listed:
        errors.print(empty)
        return
    out = Table(box=None, pad_edge=False, header_style="bold dim", padding=(0, 3, 0, 0))
    for index, heading in enumerate(headings):
        out.add_column(heading.upper(), overflow="fold", no_wrap=index == 0)
    for row in listed:
        out.add_row(*row)
    if console.is_terminal:
        console.print(out)
    else:
        Console(file=sys.stdout, highlight=False, emoji=False, markup=False, width=10_000).print(out, soft_wrap=False)


def facts(rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values in two columns."""
    out = Table.grid(padding=(0, 3, 0, 0))
    out.add_column(style="dim", no_wrap=True)
    out.add_column(overflow="fold")
    for name, value in rows:
        out.add_row(Text(name), value if isinstance(value, Text) else Text(clean(value)))
    console.print(out)


def say(text: str, style: str = "") -> None:
    """Tell a person something, on standard error, so that it never mixes with results."""
    errors.print(Text(clean(text), style=style))


def fail(error: ModelGridError) -> int:
    """Print an error with its fix; return the exit status."""
    text = Text("Error: ", style="bold red")
    text.append(clean(error.message), style="not bold default")
    errors.print(text, soft_wrap=True)
    if error.fix:
        errors.print(Text(clean(error.fix)), soft_wrap=True)
    return error.exit_code
