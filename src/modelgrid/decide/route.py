"""Which replica answers a request.

One cost, in blocks of prompt text (about 64 tokens each): what a replica has still to read for others, plus what it
would have to read of this prompt because its prefix cache does not hold it, plus one for each request it runs.

Rules, first that holds decides:
1. Only replicas that are ready (not draining) and were not tried by this request take part.
2. Replicas that are aside (`breaker`) are left out while any other remains: one is always kept.
3. Of those, replicas that hold as many requests as they can work on take no more: better to wait here, where a request
   can still go to whichever is free first.
4. A session goes where it went before: to the replica that ranks highest for it (rendezvous hashing, so that all
   gateways agree without telling each other, and sessions move only when their replica goes or is full).
5. Replicas that hold at least STICKY_SHARE of the prompt are preferred, unless the cheapest of them costs more than
   SPILL_BLOCKS above the cheapest other.
6. The cheapest wins; of equals the one with the fewest requests; equals in that too take turns, by `rotation`.
"""

from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, TypeVar

from xxhash import xxh3_64_intdigest

STICKY_SHARE = 0.8
SPILL_BLOCKS = 64
"""About 4,000 tokens of reading, or as many requests: what a hit in the cache is worth waiting for at most."""

NOTHING_CACHED: Mapping[str, int] = MappingProxyType({})


class ReplicaLoad(Protocol):
    """What the choice needs to know of a replica."""

    @property
    def id(self) -> str: ...

    @property
    def ready(self) -> bool:
        """Takes new requests."""

    @property
    def load(self) -> int:
        """Blocks it has still to read, plus one for each request given to it and not yet over."""

    @property
    def outstanding(self) -> int:
        """Requests given to it and not yet over."""

    @property
    def full(self) -> bool:
        """Holds as many requests as it can work on."""

    @property
    def aside_until(self) -> float:
        """Until when it is left out, on the clock of `now`; 0: not at all."""


R = TypeVar("R", bound=ReplicaLoad)


def choose(
    replicas: Sequence[R],
    *,
    now: float,
    rotation: int,
    tried: Container[str] = (),
    blocks: int = 0,
    cached: Mapping[str, int] = NOTHING_CACHED,
    session: bytes = b"",
) -> R | None:
    """Return the replica for one request, or None when none may take it.

    `rotation`: any integer; callers count up so that equals take turns. `blocks`: of this prompt; `cached`: how many of
    them each of `replicas` holds, by id; empty when it does not matter. `session`: what pins it, empty for nothing.
    Pure: reads its arguments only.
    """
    pool = [r for r in replicas if r.ready and r.aside_until <= now and r.id not in tried]
    if not pool:
        pool = [r for r in replicas if r.ready and r.id not in tried]
    pool = [r for r in pool if not r.full]
    if len(pool) < 2:
        return pool[0] if pool else None
    if session:
        return max(pool, key=lambda replica: xxh3_64_intdigest(session + b"|" + replica.id.encode()))
    if cached:
        pool = _cheapest_with_prefix(pool, blocks, cached)
    else:
        cheapest = min([replica.load for replica in pool])
        pool = [replica for replica in pool if replica.load == cheapest]
    if len(pool) > 1:
        fewest = min([replica.outstanding for replica in pool])
        pool = [replica for replica in pool if replica.outstanding == fewest]
    return pool[rotation % len(pool)]


def _cheapest_with_prefix(pool: Sequence[R], blocks: int, cached: Mapping[str, int]) -> list[R]:
    costs = {replica.id: replica.load + blocks - cached[replica.id] for replica in pool}
    sticky = [replica for replica in pool if cached[replica.id] >= STICKY_SHARE * blocks]
    others = [costs[replica.id] for replica in pool if cached[replica.id] < STICKY_SHARE * blocks]
    if sticky and (not others or min(costs[replica.id] for replica in sticky) <= min(others) + SPILL_BLOCKS):
        pool = sticky
    cheapest = min(costs[replica.id] for replica in pool)
    return [replica for replica in pool if costs[replica.id] == cheapest]
