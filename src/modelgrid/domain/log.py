"""Log records: what every part of the daemon and every engine says, in one order."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelgrid.domain.event import Level

DAEMON = "daemon"
"""Source of what the control process does."""
SCHEDULER = "scheduler"
"""Source of placement decisions."""
GATEWAY = "gateway"
"""Source of the gateway processes; the field `gateway` tells which."""
DEPLOYMENT = "deployment"
"""Of engines: `deployment:<id>`."""

FieldValue = str | int | float | bool | None

SEVERITY: Mapping[Level, int] = {level: rank for rank, level in enumerate(Level)}


def deployment_source(deployment: str) -> str:
    """Return the source under which the output of a deployment's engines stands."""
    return f"{DEPLOYMENT}:{deployment}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One thing that was said. `seq` rises by at least one from record to record, over restarts too."""

    seq: int
    at: float
    """Unix seconds: when the speaker's runtime received it, which need not rise with `seq`."""
    source: str
    level: Level
    message: str
    """One line or several, as it was written: engines may put terminal escapes into it."""
    fields: Mapping[str, FieldValue] = field(default_factory=dict)
