"""What goes into the audit log, and the chain that shows whether somebody changed it later."""

import hmac
import json
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256

from modelgrid.decide.access import SAFE_METHODS, UI
from modelgrid.domain.audit import AuditCheckpoint, AuditEntry, AuditExtent

LONGEST_FIELD = 300
LEAST_KEPT = 1_000
"""The newest entries stay whatever their age, so that a clock that is wrong for once does not empty the log."""


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


def prunable(extent: AuditExtent, most_entries: int) -> int:
    """Return the number up to which entries are let go of; 0: of none.

    `extent.young` is the first entry that is young enough to stay. An old entry after it stays, too: what goes is a
    beginning of the log, never a part out of it."""
    old = (extent.young or extent.newest + 1) - 1
    through = min(max(old, extent.newest - most_entries), extent.newest - LEAST_KEPT)
    return through if through >= extent.oldest else 0


def checkpoint(entry: AuditEntry, key: bytes) -> AuditCheckpoint:
    """Return the beginning of a log whose entries up to `entry` are gone."""
    return _with_seal(AuditCheckpoint(seq=entry.seq, hash=entry.hash), key)


def is_genuine(found: AuditCheckpoint, key: bytes) -> bool:
    """Tell whether a checkpoint is one that was made with `key`."""
    return hmac.compare_digest(_with_seal(found, key).seal, found.seal)


def _with_seal(found: AuditCheckpoint, key: bytes) -> AuditCheckpoint:
    # Seven fields less than an entry: one can never stand for the other.
    said = json.dumps(["checkpoint", found.seq, found.hash])
    return replace(found, seal=hmac.new(key, said.encode(), sha256).hexdigest())


def first_broken(entries: Iterable[AuditEntry], after: AuditEntry | AuditCheckpoint | None, key: bytes) -> int | None:
    """Return the number of the first entry that is not what was written, or is missing; `None`: all are as written.

    `after` is the entry before the first, or the checkpoint that stands for it; `None` at the beginning of the log."""
    seq, previous = (after.seq, after.hash) if after else (0, "")
    for entry in entries:
        seq += 1
        if entry.seq != seq or not hmac.compare_digest(sealed(entry, previous, key).hash, entry.hash):
            return seq
        previous = entry.hash
    return None
