"""How long somebody who tries passwords has to wait.

A right password clears what was counted; a wrong one does not need to be told here, as every try counts when it
begins. So tries that run at the same time cannot slip through together.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleRule:
    """`free` tries, then waits that double from `first_wait` to `longest_wait`, all in seconds."""

    free: int
    first_wait: float
    longest_wait: float
    forget_after: float
    """Without a try for this long, counting starts anew. Longer than `longest_wait`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    count: int
    last_at: float
    """Of the last try that was let through."""


ACCOUNT_AND_SOURCE = ThrottleRule(free=5, first_wait=1.0, longest_wait=300.0, forget_after=3600.0)
"""One account tried from one address. An account alone is never throttled: anybody could lock its owner out."""
SOURCE = ThrottleRule(free=20, first_wait=1.0, longest_wait=60.0, forget_after=900.0)
"""Any accounts tried from one address."""


def seconds_to_wait(rule: ThrottleRule, tries: Tries | None, now: float) -> float:
    """Return how long the next try has to wait; 0: it may begin now."""
    if tries is None or is_forgotten(rule, tries, now) or tries.count < rule.free:
        return 0.0
    # The exponent is bounded, as 2.0**1024 does not exist.
    wait = min(rule.first_wait * 2.0 ** min(tries.count - rule.free, 64), rule.longest_wait)
    return max(0.0, tries.last_at + wait - now)


def with_a_try(rule: ThrottleRule, tries: Tries | None, now: float) -> Tries:
    """Return what is known after a try was let through."""
    before = 0 if tries is None or is_forgotten(rule, tries, now) else tries.count
    return Tries(count=before + 1, last_at=now)


def is_forgotten(rule: ThrottleRule, tries: Tries, now: float) -> bool:
    return now - tries.last_at > rule.forget_after
