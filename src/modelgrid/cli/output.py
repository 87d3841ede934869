"""How results are shown. Conventions that hold for every verb:

- Results go to standard output; notes, progress and errors to standard error.
- `--json`: standard output carries one JSON value and nothing else; lists are `{"items": […]}`. What is followed
  (`--follow`, `attach`) is one JSON object per line. Errors stay on standard error, as
  `{"error": {"code", "message", "fix", "details"}}` on one line, and the exit status is the same as without.
- Exit status: 0 done, 1 failed, 2 usage or refused input, 130 ended by Ctrl-C.
- Into a pipe nothing is coloured, cut off or wrapped. NO_COLOR is respected.
- What came from elsewhere (names, logs, messages) is shown as text: it cannot move the cursor, set a title or
  reorder what stands beside it.
"""

import json
import re
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.units import format_duration

console = Console(highlight=False, emoji=False, markup=False)
errors = Console(stderr=True, highlight=False, emoji=False, markup=False)

LONGEST_NAME = 200
"""Characters of one name that a terminal shows; no real model, label or GPU comes near it."""
SIMULATED = "These GPUs are simulated: no such hardware is in this machine."
LONGEST_MESSAGE = 4000
NARROWEST = 24
"""Text is not wrapped narrower than this; a window that small wraps it once more."""

_ESCAPES = re.compile(
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # operating system commands: titles, links, clipboard
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c]*(?:\x1b\\|\x9c)?"  # device control and other strings
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # control sequences
    r"|\x1b[ -/]*[0-~]?"
)
_INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 controls
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional marks, embeddings, overrides, isolates
    "\u200b\u2028\u2029\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb"  # invisible characters, line separators
    "\U000e0000-\U000e007f"  # tags
    "\ud800-\udfff"  # halves of characters
)
_CONTROLS = re.compile(f"[{_INVISIBLE}]")
_UNSAFE_IN_JSON = re.compile(f"[{_INVISIBLE}]".replace("\x00-\x08\x0b-\x1f", ""))
"""json.dumps escapes C0 itself, and line breaks between values are to stay."""

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
    "suspect": ("▲", "yellow"),
    "lost": ("✕", "red"),
    "stopping": ("◇", "magenta"),
    "stopped": ("○", "dim"),
    "revoked": ("○", "dim"),
    "expired": ("○", "dim"),
    "failed": ("✕", "red"),
    "error": ("✕", "red"),
}
"""Shape, word and colour of every status: never colour alone."""


def clean(text: object) -> str:
    """Return text on one line, without terminal escapes, control characters and bidirectional overrides."""
    return _CONTROLS.sub("", _ESCAPES.sub("", str(text).replace("\n", " ").replace("\t", " ")))


def clean_line(text: str) -> str:
    """Return a line of an engine's log as a terminal would leave it: of what was overwritten, the last."""
    return clean(text.rstrip("\r").rpartition("\r")[2])


def short(text: object, limit: int = LONGEST_NAME) -> str:
    """Return clean text; on a terminal at most `limit` characters of it."""
    cleaned = clean(text)
    if console.is_terminal and len(cleaned) > limit:
        return cleaned[: limit - 1] + "…"
    return cleaned


def print_json(value: Any) -> None:
    """Print one JSON value: indented on a terminal, on one line elsewhere."""
    indent = 2 if sys.stdout.isatty() else None
    sys.stdout.write(json_text(value, indent) + "\n")


def print_json_line(value: Any) -> None:
    """Print one JSON value of a stream, at once."""
    sys.stdout.write(json_text(value) + "\n")
    sys.stdout.flush()


def json_text(value: Any, indent: int | None = None) -> str:
    """Return JSON that is safe to show: what could act on a terminal is escaped, which means the same to a parser."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    return _UNSAFE_IN_JSON.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


def status(word: str) -> Text:
    """Return a status word with its shape and colour."""
    shape, style = STATE_STYLES.get(word, ("◌", ""))
    return Text(f"{shape} {short(word)}", style=style)


def ago(at: float | None) -> str:
    """Return how long ago a Unix time was, as `kubectl` shows ages; `—` when it never was."""
    return "—" if at is None else format_duration(max(0.0, time.time() - at))


def show(text: Text | str, style: str = "", to: Console = console) -> None:
    """Print one line as it is; the terminal wraps it."""
    to.print(text if isinstance(text, Text) else Text(text, style=style), soft_wrap=True)


def wrapped(text: Text, width: int, measure: Console) -> list[Text]:
    """Return lines of at most `width` cells, torn between words; a longer word is folded."""
    if text.cell_len <= width:
        text = text.copy()
        text.rstrip()
        return [text]
    parts = list(text.wrap(measure, max(width, 1), overflow="fold"))
    for part in parts:
        part.rstrip()
    return parts


def paragraph(text: Text | str, *, indent: int = 0, hang: int = 0, style: str = "", to: Console = console) -> None:
    """Print text, on a terminal wrapped between words: lines are indented, those after the first by `hang` more."""
    whole = text if isinstance(text, Text) else Text(short(text, LONGEST_MESSAGE), style=style)
    parts = [whole]
    if to.is_terminal and indent + whole.cell_len > to.width:
        room = max(to.width - indent - hang, NARROWEST)
        parts = wrapped(whole, room, to)
    for number, part in enumerate(parts):
        show(Text(" " * (indent + (hang if number else 0))).append_text(part), to=to)


def say(text: str, style: str = "") -> None:
    """Tell a person something, on standard error, so that it never mixes with results."""
    paragraph(text, style=style, to=errors)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return `1 model`, `2 models`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def fail(error: ModelGridError, *, as_json: bool) -> int:
    """Print an error with its fix on standard error; return the exit status."""
    if as_json:
        sys.stderr.write(error_json(error.code, error.message, error.fix, error.details) + "\n")
        return error.exit_code
    text = Text("Error: ", style="bold red")
    text.append(short(error.message, LONGEST_MESSAGE), style="not bold default")
    paragraph(text, hang=7, to=errors)
    for line in filter(None, error.fix.split("\n")):
        paragraph(line, indent=7, hang=2, to=errors)
    return error.exit_code


def error_json(code: str, message: str, fix: str, details: Mapping[str, Any] | None = None) -> str:
    """Return the one error shape, the same as the API's."""
    return json_text({"error": {"code": code, "message": message, "fix": fix, "details": dict(details or {})}})
