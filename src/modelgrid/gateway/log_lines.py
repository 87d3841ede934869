"""What this process logs, kept for the report to control: the newest lines, each with a number.

They go to standard error all the same. A new link is told everything that is kept; control knows by the numbers what
it has heard already."""

import logging
from collections import deque

from modelgrid.domain.routing import GatewayLine

KEPT_LINES = 500
LONGEST_LINE = 8_000


class LineKeeper(logging.Handler):
    """A handler of the root logger. `take` and `begin` belong to the event loop's thread."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[GatewayLine] = deque(maxlen=KEPT_LINES)
        self._count = 0
        self._told = 0

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self._count += 1
        level = "debug" if record.levelno < logging.INFO else record.levelname.lower()
        self._lines.append(GatewayLine(number=self._count, at=record.created, level=level, message=text[:LONGEST_LINE]))

    def begin(self) -> None:
        """A new connection to control begins: it may not have heard anything yet."""
        self._told = 0

    def take(self) -> tuple[GatewayLine, ...]:
        """Return the lines that were not taken on this connection."""
        told, self._told = self._told, self._count
        return tuple(line for line in self._lines if line.number > told) if told < self._count else ()
