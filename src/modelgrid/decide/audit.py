"""What goes into the audit log, and the chain that shows whether somebody changed it later."""

import hmac
import json
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256

from modelgrid.decide.access import SAFE_METHODS, UI
from modelgrid.domain.audit import AuditEntry

LONGEST_FIELD = 300


def is_recorded(method: str, path: str, status: int, *, known: bool, with_credential: bool) -> bool:
    """Tell whether a call is recorded: everything that could change something, by somebody known; every login; every
    refused right; every credential that was not good. `known`: the caller is."""
    if status == 403 or (status == 401 and with_credential):
        return True
    return method not in SAFE_METHODS and (known or path == f"{UI}/login")


def cleaned(text: str) -> str:
    """Return `text` in bounds, on one line and without control characters, for logs and terminals."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text[:LONGEST_FIELD]
    )
    return shown if len(shown) <= LONGEST_FIELD else shown[: LONGEST_FIELD - 1] + "…"


def sealed(entry: AuditEntry, previous: str, key: bytes) -> AuditEntry:
    """Return the entry with its hash. Without `key` nobody can compute one."""
    fields = [
        entry.seq, entry.at, entry.who, entry.kind, entry.source, entry.action, entry.target, entry.status,
        entry.repeated, previous,
    ]  # fmt: skip
    return replace(entry, hash=hmac.new(key, json.dumps(fields).encode(), sha256).hexdigest())


def first_broken(entries: Iterable[AuditEntry], after: AuditEntry | None, key: bytes) -> int | None:
    """Return the number of the first entry that is not what was written, or is missing; `None`: all are as written.

    `after` is the entry before the first, `None` at the beginning of the log."""
    seq, previous = (after.seq, after.hash) if after else (0, "")
    for entry in entries:
        seq += 1
        if entry.seq != seq or not hmac.compare_digest(sealed(entry, previous, key).hash, entry.hash):
            return seq
        previous = entry.hash
    return None
