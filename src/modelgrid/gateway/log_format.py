"""The gateway's log lines, in the form the control process writes its own: one daemon, one look."""

import json
import logging
import os
import sys
import time

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""Syslog priorities, as sd-daemon(3) reads them at the beginning of a line."""
_COLOURS = {logging.INFO: "\x1b[32m", logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m"}
_RESET, _DIM = "\x1b[0m", "\x1b[2m"


class LineFormatter(logging.Formatter):
    """Coloured for a terminal, logfmt otherwise, with priorities and without times when the journal reads it."""

    def __init__(self, gateway: int) -> None:
        super().__init__()
        self._gateway = gateway
        self._terminal = sys.stderr.isatty()
        self._journal = "JOURNAL_STREAM" in os.environ and not self._terminal

    def format(self, record: logging.LogRecord) -> str:
        level, text = record.levelname.lower(), record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        if self._terminal:
            moment = time.strftime("%H:%M:%S", time.localtime(record.created))
            colour = _COLOURS.get(record.levelno, "")
            return f"{_DIM}{moment}{_RESET} [{colour}{level:<9}{_RESET}] gateway {self._gateway}: {text}"
        line = f"level={level} event={json.dumps(text, ensure_ascii=False)} gateway={self._gateway}"
        if self._journal:
            return f"<{_PRIORITIES.get(record.levelno, 6)}>{line}"
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"timestamp={moment}.{int(record.msecs * 1000):06d}Z {line}"
