"""Whether the limits of a key allow one more request.

Each bound per minute is a bucket that holds one minute's worth and fills at an even pace. Its whole state is one
number: the time at which it is full again (the "theoretical arrival time" of the generic cell rate algorithm; ATM Forum
TM 4.0). What is taken moves that time forward, and a request fits while it stays within one minute from now. So in any
span of T seconds no more than limit × (1 + T/60) passes, and the bound holds exactly in the long run.

All times are seconds on one monotonic clock. Pure: nothing here is charged until the caller stores what is returned.
"""

from enum import StrEnum
from typing import Final, NamedTuple

PERIOD_SECONDS: Final = 60.0
CONCURRENCY_WAIT_SECONDS: Final = 1.0
"""What a client is told to wait for one of its own requests to end: nobody knows when that is."""


class Bound(StrEnum):
    """What a key may use up."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENCY = "concurrency"


class Limits(NamedTuple):
    """The bounds of one key; `None`: not bounded."""

    requests: int | None
    """Per minute."""
    tokens: int | None
    """Per minute."""
    concurrent: int | None


class Verdict(NamedTuple):
    """The answer to one request, and the state of the buckets that follows: unchanged when it is refused."""

    refused_by: Bound | None
    wait_seconds: float
    """When refused: how long until the same request would pass, if nothing else happened meanwhile."""
    requests_full_at: float
    tokens_full_at: float


def admit(limits: Limits, spent: tuple[float, float], running: int, tokens: int, now: float) -> Verdict:
    """Decide on a request that is expected to take `tokens`. All bounds or none are charged.

    `spent`: when the buckets of requests and of tokens are full again; `running`: the key's requests under way. A
    request larger than the whole bound passes when the bucket is full: otherwise it never could.
    """
    requests_full_at, tokens_full_at = spent
    per_minute, tokens_per_minute, concurrent = limits
    if concurrent is not None and running >= concurrent:
        return Verdict(Bound.CONCURRENCY, CONCURRENCY_WAIT_SECONDS, *spent)
    if per_minute is not None:
        requests_full_at = (requests_full_at if requests_full_at > now else now) + PERIOD_SECONDS / per_minute
        if requests_full_at - now > PERIOD_SECONDS + _ROUNDING:
            return Verdict(Bound.REQUESTS, requests_full_at - now - PERIOD_SECONDS, *spent)
    if tokens_per_minute is not None:
        charged = tokens if tokens < tokens_per_minute else tokens_per_minute  # `reservable`
        tokens_full_at = (
            tokens_full_at if tokens_full_at > now else now
        ) + charged * PERIOD_SECONDS / tokens_per_minute
        if tokens_full_at - now > PERIOD_SECONDS + _ROUNDING:
            return Verdict(Bound.TOKENS, tokens_full_at - now - PERIOD_SECONDS, *spent)
    return Verdict(None, 0.0, requests_full_at, tokens_full_at)


_ROUNDING: Final = 1e-6
"""Sixty times a sixtieth is not one; a microsecond of a minute is less than any request."""


def reservable(limit: int, tokens: int) -> int:
    """Return how much of `tokens` is charged at admission; the rest is charged when the true number is known."""
    return tokens if tokens < limit else limit


def settle(limit: int, tokens_full_at: float, reserved: int, used: int, now: float) -> float:
    """Return the token bucket's state after a request for which `reserved` was charged turned out to take `used`."""
    if used <= reserved:
        return tokens_full_at - (reserved - used) * PERIOD_SECONDS / limit
    return max(tokens_full_at, now) + (used - reserved) * PERIOD_SECONDS / limit


def remaining(limit: int, full_at: float, now: float) -> int:
    """Return how many units a bucket holds."""
    if full_at <= now:
        return limit
    left = int(limit - (full_at - now) * limit / PERIOD_SECONDS + _ROUNDING)
    return left if left > 0 else 0
