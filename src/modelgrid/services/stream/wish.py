"""What one stream wants: its topics, and of the log only some sources and levels."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.event import Level
from modelgrid.domain.log import SEVERITY
from modelgrid.domain.log_filter import LogFilter

TOPICS = (
    "overview",
    "nodes",
    "targets",
    "placements",
    "gpus",
    "deployments",
    "logs",
    "catalog",
    "apikeys",
    "config",
)
DEPLOYMENT = "deployment:"
"""Prefix of the topics that each follow one deployment: its events and metrics."""
MOST_TOPICS = 64
"""Of one stream: every view that a browser can have open, many times over."""

_DEPLOYMENT_TOPIC = re.compile(r"deployment:[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Equal wishes share the bytes that are sent."""

    topics: frozenset[str]
    log: LogFilter = field(default_factory=LogFilter)
    """Which records of the log, by source and level."""

    def wants(self, topic: str, source: str, level: Level | None) -> bool:
        """Whether a change of `topic` is sent; `source` and `level` are those of log records."""
        if topic not in self.topics:
            return False
        return level is None or (SEVERITY[level] >= SEVERITY[self.log.level] and self.log.wants_source(source))


def parse_topics(text: str) -> frozenset[str]:
    """Return the topics named in `text`, separated by commas. Raises `InvalidInput` for an unknown one or for none."""
    return check_topics(part.strip() for part in text.split(",") if part.strip())


def check_topics(names: Iterable[str]) -> frozenset[str]:
    topics = frozenset(names)
    unknown = sorted(t for t in topics if t not in TOPICS and not _DEPLOYMENT_TOPIC.fullmatch(t))
    if unknown or not topics or len(topics) > MOST_TOPICS:
        wrong = f"There is no topic {unknown[0][:80]!r}." if unknown else f"A stream has 1 to {MOST_TOPICS} topics."
        raise InvalidInput(
            wrong, fix=f"Topics: {', '.join(TOPICS)}, deployment:<id>; separated by commas.", path="topics"
        )
    return topics
