"""Log lines of the gateway processes on their way into the log store."""

from modelgrid.domain.event import Level
from modelgrid.domain.log import GATEWAY, FieldValue
from modelgrid.domain.routing import GatewayReport
from modelgrid.services.logs.store import LogStore

_LEVELS = {"critical": Level.ERROR, **{level.value: level for level in Level}}


class GatewayLines:
    """Takes each line once, though gateways tell again what they may not have been heard to say."""

    def __init__(self, logs: LogStore) -> None:
        self._logs = logs
        self._heard: dict[int, int] = {}
        """The last number by process id; a new process with an old id begins with 1."""
        self._started: dict[int, float] = {}

    def know(self) -> None:
        """Remember what is in the store from before this process."""
        for record in self._logs.in_memory(GATEWAY):
            pid, number = record.fields.get("pid"), record.fields.get("line")
            if isinstance(pid, int) and isinstance(number, int):
                self._heard[pid] = max(number, self._heard.get(pid, 0))

    def take(self, report: GatewayReport) -> None:
        if self._started.setdefault(report.pid, report.started_at) != report.started_at:
            self._started[report.pid], self._heard[report.pid] = report.started_at, 0
        heard = self._heard.get(report.pid, 0)
        for line in report.lines:
            if line.number > heard:
                fields: dict[str, FieldValue] = {"gateway": report.gateway, "pid": report.pid, "line": line.number}
                self._logs.add(GATEWAY, _LEVELS.get(line.level, Level.INFO), line.message, fields, line.at)
                self._heard[report.pid] = line.number
