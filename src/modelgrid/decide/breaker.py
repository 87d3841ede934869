"""When a replica that fails is left aside, and when it is tried again.

    closed ── EJECT_AFTER failures in a row ──▶ aside for n × `seconds` ──▶ half-open: one request as a probe
      ▲                                            ▲                              │
      └────────────── an answer ───────────────────┼──────────────────────────────┤
                                                   └────── another failure ───────┘

Failures are those of the transport and answers with a 5xx status. Other answers of the replica's own making (4xx) say
nothing about it. n counts the ejections, up to MAX_EJECTIONS, and begins anew once the replica has answered for as long
as it was last aside. Whoever chooses keeps one replica in any case, see `route`.
"""

from dataclasses import dataclass
from typing import Final

EJECT_AFTER: Final = 5
MAX_EJECTIONS: Final = 10
UNREACHABLE_SECONDS: Final = 1.0
"""How long a replica that refused a connection is left aside. One second, so that a replica that returned is used
within a second even when control could not say so."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is known of one replica."""

    failures: int = 0
    """In a row."""
    ejections: int = 0
    """In a row, see the module."""
    aside_until: float = 0.0
    """On the clock of the callers."""

    @property
    def half_open(self) -> bool:
        """It was ejected and has not answered since: what it gets now is a probe, one at a time."""
        return self.failures >= EJECT_AFTER


CLOSED: Final = Breaker()


def after_failure(breaker: Breaker, now: float, *, seconds: float, unreachable: bool) -> Breaker:
    """Return the breaker after a failure at `now`.

    `seconds`: how long the first ejection lasts; `unreachable`: nothing was sent, there was no connection.
    """
    failures = breaker.failures + 1
    if failures >= EJECT_AFTER:
        if breaker.half_open and now < breaker.aside_until:  # requests from before the ejection end one after the other
            return Breaker(failures, breaker.ejections, breaker.aside_until)
        ejections = min(breaker.ejections + 1, MAX_EJECTIONS)
        return Breaker(failures, ejections, now + seconds * ejections)
    aside_until = now + UNREACHABLE_SECONDS if unreachable else breaker.aside_until
    return Breaker(failures, breaker.ejections, aside_until)


def after_success(breaker: Breaker, now: float, *, seconds: float, probe: bool) -> Breaker:
    """Return the breaker after an answer at `now`. `probe`: to a request that was sent since the last ejection."""
    if breaker.half_open and not probe:
        return breaker
    if now - breaker.aside_until >= seconds * breaker.ejections:
        return CLOSED
    return Breaker(0, breaker.ejections, min(breaker.aside_until, now))
