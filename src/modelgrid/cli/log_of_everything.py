"""`modelgrid logs` without a deployment: daemon, scheduler, gateways and engines in one order."""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.text import Text

from modelgrid.cli.output import clean_line, console, print_json, print_json_line, say, short, show
from modelgrid.cli.patience import patiently
from modelgrid.cli.spans import span
from modelgrid.client.http import ModelGridClient
from modelgrid.domain.errors import InvalidInput

if TYPE_CHECKING:
    from modelgrid.client.views import LogRecordView

LONG_POLL_SECONDS = 5.0
"""Also how long it takes at most to notice that a deployment is gone."""
PAGE = 5000

_STYLES = {"debug": "dim", "info": "green", "warning": "yellow", "error": "red"}
_SHOWN_AS_COLUMN = frozenset({"stream"})


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def moment(text: str | None) -> float | None:
    """Return the Unix time that an age (`15m`) or an ISO 8601 time names. Raises `InvalidInput`."""
    if text is None:
        return None
    if (age := span(text)) is not None:
        return time.time() - age
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(
            f"--since {text!r} is neither an age nor a time.", fix="For example 90s, 15m, 2h, 7d or 2026-11-23T16:50."
        ) from None


def log_of_everything(
    client: ModelGridClient, wanted: Mapping[str, Any], tail: int, *, follow: bool, as_json: bool
) -> None:
    """Print the last `tail` records that are wanted, and with `follow` those that come, until interrupted."""
    records, after = _last(client, wanted, tail)
    if as_json and not follow:
        print_json({"items": records})
        return
    for record in records:
        _print(record, as_json=as_json)
    if not records and not follow:
        say("Nothing was said that is like that." if any(wanted.values()) else "Nothing was said yet.")
    for record in _coming(client, wanted, after) if follow else ():
        _print(record, as_json=as_json)


def _last(client: ModelGridClient, wanted: Mapping[str, Any], tail: int) -> "tuple[list[LogRecordView], int]":
    """Return the records and where to go on. A search that takes the daemon long goes on from where it came to."""
    page = client.list_logs(limit=max(tail, 1), **wanted)
    records, after = page["items"][-tail:] if tail else [], page["next_after"]
    while tail and not page["complete"] and len(records) < tail:
        page = client.list_logs(limit=tail - len(records), before=page["next_before"], **wanted)
        records = page["items"] + records
    return records, after


def _coming(client: ModelGridClient, wanted: Mapping[str, Any], after: int) -> "Iterator[LogRecordView]":
    while True:
        ask = partial(client.list_logs, after=after, limit=PAGE, wait=LONG_POLL_SECONDS, **wanted)
        page = patiently(ask)
        yield from page["items"]
        after = page["next_after"]


def _print(record: "LogRecordView", *, as_json: bool) -> None:
    if as_json:
        print_json_line(record)
        return
    at = datetime.fromtimestamp(record["at"]).astimezone()
    today = at.date() == datetime.now().astimezone().date()
    line = Text((f"{at:%H:%M:%S}" if today else f"{at:%Y-%m-%d %H:%M:%S}") + f".{at.microsecond // 1000:03}", "dim")
    line.append(f" {short(record['level']):<7} ", style=f"not dim {_STYLES.get(record['level'], '')}")
    line.append(f"{short(record['source'])}  ", style="not dim cyan")
    # A record of several lines (a traceback) stays several lines; nothing in it can pass for another record.
    first, *rest = str(record["message"]).split("\n")
    line.append(clean_line(first), style="not dim default")
    for name, value in record["fields"].items():
        if name not in _SHOWN_AS_COLUMN and "\n" not in str(value):
            line.append(f"  {short(name)}=", style="dim").append(short(value), style="not dim")
    show(line)
    more = [*rest, *(part for value in record["fields"].values() if "\n" in str(value) for part in value.split("\n"))]
    for part in more:
        show(Text("    " + clean_line(part)))
    console.file.flush()
