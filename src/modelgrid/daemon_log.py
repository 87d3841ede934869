"""The daemon's own log: one line per effect on standard error, and a record in the log store.

`configure_logging` comes first, before there is a store: what is said until `Tap.connect` is kept and handed on then.
"""

import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from modelgrid.domain.event import Level
from modelgrid.domain.log import DAEMON, FieldValue

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Syslog priorities, as sd-daemon(3) reads them at the beginning of a line."""
_LEVELS = {"debug": Level.DEBUG, "warning": Level.WARNING, "error": Level.ERROR, "critical": Level.ERROR}
_KEPT_BEFORE_CONNECTED = 1_000
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What could act on a terminal, or make one line look like two: names in messages are chosen by others."""
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")
"""Surrogates by themselves: no file can hold them as text."""

Sink = Callable[[str, Level, str, Mapping[str, FieldValue]], None]


_RANKS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_least = _RANKS["info"]


def set_log_level(level: str) -> None:
    """Log from `level` on: `debug`, `info`, `warning` or `error`. Holds at once, everywhere in this process."""
    global _least  # noqa: PLW0603  loggers are kept by the modules that made them
    _least = _RANKS[level]


def _drop_below(_: object, level: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if _RANKS.get(level, _RANKS["error"]) < _least:
        raise structlog.DropEvent
    return event


class Tap:
    """Hands what is said to the log store. A structlog processor."""

    def __init__(self) -> None:
        self._sink: Sink | None = None
        self._early: list[tuple[str, Level, str, dict[str, FieldValue]]] = []

    def connect(self, sink: Sink) -> None:
        """Hand records to `sink(source, level, message, fields)`, from whatever thread speaks."""
        self._sink = sink
        early, self._early = self._early, []
        for record in early:
            sink(*record)

    def __call__(self, _: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        level = _LEVELS.get(method, Level.INFO)
        source, message, fields = _record_of(event)
        if self._sink is not None:
            self._sink(source, level, message, fields)
        elif len(self._early) < _KEPT_BEFORE_CONNECTED:
            self._early.append((source, level, message, fields))
        return event


def journal_reads() -> bool:
    """Return whether what this process says is kept by systemd's journal."""
    return "JOURNAL_STREAM" in os.environ and not sys.stderr.isatty()


def configure_logging() -> Tap:
    """Write coloured lines to a terminal, logfmt otherwise; with priorities when the journal reads them.

    What libraries say through `logging` takes the same way. Returns where the records can be had."""
    tap = Tap()
    terminal = sys.stderr.isatty()
    processors: list[structlog.typing.Processor] = [
        _drop_below,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        tap,
        _harmless,
    ]
    if terminal:
        processors += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(pad_event_to=28, exception_formatter=structlog.dev.plain_traceback),
        ]
    else:
        if not journal_reads():
            processors.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
        processors.append(
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True)
        )
    if journal_reads():
        processors.append(_with_priority)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger("debug"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_OfLibraries()], force=True)
    return tap


class _OfLibraries(logging.Handler):
    """Hands what libraries log to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "debug" if record.levelno < logging.INFO else record.levelname.lower()
        speak = getattr(structlog.get_logger(), level, structlog.get_logger().info)
        speak(record.getMessage(), logger=record.name, **({"exc_info": record.exc_info} if record.exc_info else {}))


def _record_of(event: structlog.typing.EventDict) -> tuple[str, str, dict[str, FieldValue]]:
    """Return source, message and fields of an event, which stays as it is."""
    values: dict[str, Any] = dict(event)
    source, message = str(values.pop("source", DAEMON)), str(values.pop("event", ""))
    values.pop("level", None)
    fields = {name: _plain(value) for name, value in values.items() if value is not None}
    return source, _HALF_A_PAIR.sub(_escaped, message), fields


def _plain(value: object) -> FieldValue:
    if isinstance(value, int | float | bool):
        return value
    return _HALF_A_PAIR.sub(_escaped, str(value))


def _harmless(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Write control characters as escapes."""
    return {name: _CONTROLS.sub(_escaped, v) if isinstance(v, str) else v for name, v in event.items()}


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _with_priority(_: object, level: str, line: structlog.typing.EventDict | str) -> str:
    """Put the priority before the rendered line."""
    return f"<{_PRIORITIES.get(level, 6)}>{line}"
