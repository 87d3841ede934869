"""Which log records somebody wants to see."""

from collections.abc import Callable
from dataclasses import dataclass

from modelgrid.domain.event import Level
from modelgrid.domain.log import DEPLOYMENT, SEVERITY, LogRecord

_ANY_DEPLOYMENT = f"{DEPLOYMENT}:"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Everything has to hold. The default wants all."""

    sources: frozenset[str] | None = None
    """`deployment` stands for those of all deployments."""
    level: Level = Level.DEBUG
    """The least severe that is wanted."""
    since: float | None = None
    until: float | None = None
    """Unix seconds, both inclusive."""
    found_in: Callable[[str], bool] | None = None
    """Whether a text contains what is searched for. Its time must be bounded by the length of the text."""

    def matches(self, record: LogRecord) -> bool:
        return (
            SEVERITY[record.level] >= SEVERITY[self.level]
            and self.wants_source(record.source)
            and (self.since is None or record.at >= self.since)
            and (self.until is None or record.at <= self.until)
            and (self.found_in is None or self.found_in(searched_text(record)))
        )

    def wants_source(self, source: str) -> bool:
        return (
            self.sources is None
            or source in self.sources
            or (DEPLOYMENT in self.sources and source.startswith(_ANY_DEPLOYMENT))
        )


def searched_text(record: LogRecord) -> str:
    """Return what a search looks at: the message, and ` name=value` of each field that is more than the stream."""
    if not record.fields or record.source.startswith(_ANY_DEPLOYMENT):
        return record.message
    return record.message + "".join(f" {name}={value}" for name, value in record.fields.items())
