"""The daemon's own log: one line per effect on standard error, for a terminal, a file or the journal."""

import os
import sys

import structlog

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Syslog priorities, as sd-daemon(3) reads them at the beginning of a line."""


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_least = _LEVELS["info"]


def set_log_level(level: str) -> None:
    """Log from `level` on: `debug`, `info`, `warning` or `error`. Holds at once, everywhere in this process."""
    global _least  # noqa: PLW0603  loggers are kept by the modules that made them
    _least = _LEVELS[level]


def _drop_below(_: object, level: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if _LEVELS.get(level, _LEVELS["error"]) < _least:
        raise structlog.DropEvent
    return event


def configure_logging() -> None:
    """Write coloured lines to a terminal, logfmt otherwise; with priorities when the journal reads them."""
    terminal = sys.stderr.isatty()
    journal = "JOURNAL_STREAM" in os.environ and not terminal
    processors: list[structlog.typing.Processor] = [
        _drop_below,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
    ]
    if terminal:
        processors += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(pad_event_to=28, exception_formatter=structlog.dev.plain_traceback),
        ]
    else:
        if not journal:
            processors.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
        processors += [
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], drop_missing=True),
        ]
    if journal:
        processors.append(_with_priority)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger("debug"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _with_priority(_: object, level: str, line: structlog.typing.EventDict | str) -> str:
    """Put the priority before the rendered line."""
    return f"<{_PRIORITIES.get(level, 6)}>{line}"
