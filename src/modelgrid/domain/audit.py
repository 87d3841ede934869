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
