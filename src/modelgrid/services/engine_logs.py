"""The recent output of each engine, in bounded memory, with a cursor to read on from."""

import asyncio
from collections import deque
from dataclasses import dataclass

from modelgrid.domain.engine import LogLine
from modelgrid.domain.ids import DeploymentId

BUFFERED_LINES = 5_000


@dataclass(frozen=True, slots=True)
class NumberedLine:
    """`number` rises by one with each line of a deployment since the daemon started."""

    number: int
    line: LogLine


class EngineLog:
    """The last `BUFFERED_LINES` lines of one deployment."""

    def __init__(self) -> None:
        self._lines: deque[NumberedLine] = deque(maxlen=BUFFERED_LINES)
        self._next = 1
        self._grown = asyncio.Event()

    def add(self, line: LogLine) -> None:
        self._lines.append(NumberedLine(self._next, line))
        self._next += 1
        self._grown.set()

    @property
    def last(self) -> LogLine | None:
        return self._lines[-1].line if self._lines else None

    @property
    def next_number(self) -> int:
        return self._next

    def tail(self, count: int) -> tuple[NumberedLine, ...]:
        return tuple(self._lines)[-count:] if count > 0 else ()

    def after(self, number: int, limit: int) -> tuple[NumberedLine, ...]:
        """Return up to `limit` lines that follow line `number`, oldest first."""
        first = self._lines[0].number if self._lines else self._next
        skip = max(0, number + 1 - first)
        return tuple(self._lines)[skip : skip + limit]

    async def wait_after(self, number: int, seconds: float) -> None:
        """Return when there is a line after `number`, at the latest after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while self._next <= number + 1:
                    self._grown.clear()
                    await self._grown.wait()
        except TimeoutError:
            return


class EngineLogs:
    """The logs of all deployments."""

    def __init__(self) -> None:
        self._logs: dict[DeploymentId, EngineLog] = {}

    def of(self, deployment: DeploymentId) -> EngineLog:
        return self._logs.setdefault(deployment, EngineLog())

    def forget(self, deployment: DeploymentId) -> None:
        self._logs.pop(deployment, None)
