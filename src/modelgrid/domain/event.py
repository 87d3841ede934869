"""Events: immutable facts on a timeline."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Subject(StrEnum):
    DEPLOYMENT = "deployment"
    TARGET = "target"
    NODE = "node"
    GPU = "gpu"
    KEY = "key"
    TOKEN = "token"  # noqa: S105  a word of the API
    USER = "user"
    CATALOG = "catalog"
    DAEMON = "daemon"


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`seq` is given by the store, strictly rising over all events; 0 before it is stored."""

    at: float
    subject: Subject
    subject_id: str
    kind: str
    """Past-tense word: `scheduled`, `pulling`, `pulled`, `started`, `ready`, `exited`, `restarting`, `stopped`, …"""
    message: str
    level: Level = Level.INFO
    by: str = ""
    """Who caused it; empty for the daemon itself."""
    data: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
