"""Which replica answers a request.

Rules, first that holds decides:
1. Only replicas that are ready (not draining) and were not tried by this request take part.
2. Replicas that refused a connection a moment ago are left aside while any other remains: one is always kept.
3. Of those, replicas that hold as many requests as they can work on take no more: better to wait here, where a request
   can still go to whichever is free first.
4. The one with the fewest outstanding requests wins.
5. Equals take turns, by `rotation`.
"""

from collections.abc import Container, Sequence
from typing import Protocol, TypeVar


class ReplicaLoad(Protocol):
    """What the choice needs to know of a replica."""

    @property
    def id(self) -> str: ...

    @property
    def ready(self) -> bool:
        """Takes new requests."""

    @property
    def outstanding(self) -> int:
        """Requests given to it and not yet over."""

    @property
    def full(self) -> bool:
        """Holds as many requests as it can work on."""

    @property
    def suspect_until(self) -> float:
        """Until when it counts as unreachable, on the clock of `now`; 0: never failed."""


R = TypeVar("R", bound=ReplicaLoad)


def choose(replicas: Sequence[R], *, now: float, rotation: int, tried: Container[str] = ()) -> R | None:
    """Return the replica for one request, or None when none may take it.

    `rotation`: any integer; callers count up so that equals take turns. Pure: reads its arguments only.
    """
    eligible = [replica for replica in replicas if replica.ready and replica.id not in tried]
    pool = [replica for replica in eligible if replica.suspect_until <= now] or eligible
    pool = [replica for replica in pool if not replica.full]
    if len(pool) < 2:
        return pool[0] if pool else None
    fewest = min([replica.outstanding for replica in pool])
    equals = [replica for replica in pool if replica.outstanding == fewest]
    return equals[rotation % len(equals)]
