"""The output of one deployment's engines, as its keeper writes and reads it."""

from collections.abc import Mapping

from modelgrid.decide.log_level import level_of
from modelgrid.domain.engine import LogLine
from modelgrid.domain.event import Level
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.log import FieldValue, LogRecord, deployment_source
from modelgrid.services.logs.store import LogStore

_FIELDS: Mapping[str, Mapping[str, FieldValue]] = {stream: {"stream": stream} for stream in ("stdout", "stderr")}


class EngineLog:
    def __init__(self, store: LogStore, deployment: DeploymentId) -> None:
        self._store = store
        self._source = deployment_source(deployment)
        self._levels: dict[str, Level] = {}
        self.lines = 0
        """Taken in since the daemon started."""

    @property
    def next_seq(self) -> int:
        return self._store.next_seq

    def add(self, line: LogLine) -> None:
        self.lines += 1
        level = self._levels[line.stream] = level_of(line.text, self._levels.get(line.stream, Level.INFO))
        self._store.add(self._source, level, line.text, _FIELDS.get(line.stream, {"stream": line.stream}), line.at)

    def last_lines(self, since: int = 0) -> tuple[LogLine, ...]:
        """Return the last lines from memory; with `since` only those whose number is not below it."""
        return tuple(as_line(record) for record in self._store.recent(self._source) if record.seq >= since)

    async def resume_from(self, now: float) -> "Resume":
        """Return which of the lines that a runtime gives again are here already."""
        known = await self._store.recall(self._source)
        newest = max((record.at for record in known), default=0.0)
        # A clock that was set back would hide the lines that are to come: rather some twice.
        return Resume(newest, sum(r.at == newest for r in known)) if newest <= now + 1.0 else Resume(0.0, 0)

    def forget(self) -> None:
        self._store.forget(self._source)


class Resume:
    """The place in an engine's output up to which it was taken in."""

    def __init__(self, at: float, lines: int) -> None:
        self._at = at
        self._lines = lines
        """Lines of just that time: several can have the same."""

    def is_new(self, line: LogLine) -> bool:
        """Whether a line is not known yet. To be asked once for each, in order."""
        if line.at == self._at and self._lines > 0:
            self._lines -= 1
            return False
        return line.at >= self._at


def as_line(record: LogRecord) -> LogLine:
    return LogLine(at=record.at, stream=str(record.fields.get("stream", "stdout")), text=record.message)
