"""The daemon's own log: one line per effect on standard error, for a terminal, a file or the journal."""

import os
import sys

import structlog

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Syslog priorities, as sd-daemon(3) reads them at the beginning of a line."""


def configure_logging() -> None:
    """Write coloured lines to a terminal, logfmt otherwise; with priorities when the journal reads them."""
    terminal = sys.stderr.isatty()
    journal = "JOURNAL_STREAM" in os.environ and not terminal
    processors: list[structlog.typing.Processor] = [
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
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _with_priority(_: object, level: str, line: structlog.typing.EventDict | str) -> str:
    """Put the priority before the rendered line."""
    return f"<{_PRIORITIES.get(level, 6)}>{line}"
