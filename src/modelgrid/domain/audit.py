"""The audit log: who did what, when, from where, and how it ended."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    at: float
    who: str
    """User, `token NAME`, `local`, `anonymous`; for a login the name that was given."""
    kind: str
    """`session`, `token`, `local`, or empty where nobody was known."""
    source: str
    """Address that the call came from."""
    action: str
    """Operation id of the call, like `put_target`; the method where there is no such call."""
    target: str
    """Path of the call."""
    status: int
    """HTTP status of the answer."""
    repeated: int = 0
    """Refused calls just like this one that were left out since the last entry of its kind."""
    seq: int = 0
    """Counts up without gaps; given by the store."""
    hash: str = ""
    """Over this entry and the hash of the one before; given by the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCheckpoint:
    """Where the chain begins after its oldest entries were let go of."""

    seq: int
    """Number of the newest entry that is gone."""
    hash: str
    """Its hash, which the first entry that is left was made with."""
    seal: str = ""
    """Over both, made with the key of the chain: nobody else can move the beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditExtent:
    """What there is of the log."""

    oldest: int
    newest: int
    young: int | None
    """Number of the first entry that is not older than what was asked for; `None`: all are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditBounds:
    """How much of the log is kept. Whichever is reached first lets go of the oldest."""

    days: int
    entries: int
