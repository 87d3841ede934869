"""Since when a reason of the verdict holds, where its facts do not tell: since it was first seen, without a gap."""

from collections.abc import Mapping
from dataclasses import replace

from modelgrid.decide.verdict import FleetVerdict, Reason

Seen = Mapping[tuple[str, ...], float]
"""When each reason was first seen, by its code, its subject and, where one subject may have several, its cause."""

_TOLD_APART_BY_CAUSE = frozenset({"not_as_configured"})


def dated(verdict: FleetVerdict, seen: Seen, now: float) -> tuple[FleetVerdict, Seen]:
    """Return `verdict` with every reason dated, and what is to be known at the next look.

    `seen` is what the look before returned; a reason that was not there then begins now. A clock that was set back
    leaves none in the future."""
    found = {_key(reason): min(seen.get(_key(reason), now), now) for reason in verdict.reasons}
    reasons = tuple(
        reason if reason.since is not None else replace(reason, since=found[_key(reason)]) for reason in verdict.reasons
    )
    return replace(verdict, reasons=reasons), found


def _key(reason: Reason) -> tuple[str, ...]:
    apart = (reason.cause,) if reason.code in _TOLD_APART_BY_CAUSE else ()
    return (reason.code, reason.subject, *apart)
