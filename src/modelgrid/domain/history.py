"""What is kept of a deployment after it was stopped or removed."""

from dataclasses import dataclass

from modelgrid.domain.deployment import Deployment
from modelgrid.domain.engine import LogLine

KEPT_LOG_LINES = 500
"""Log lines of a deployment that are at hand however loud the others are, and that outlive it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRecord:
    """One ended deployment. Its events are found by its id, as long as they are kept."""

    deployment: Deployment
    ended_at: float
    reason: str
    by: str
    last_lines: tuple[LogLine, ...] = ()
