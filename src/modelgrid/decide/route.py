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
from typing import Final, Protocol, TypeVar

from xxhash import xxh3_64_intdigest

STICKY_SHARE: Final = 0.8
SPILL_BLOCKS: Final = 64
"""About 4,000 tokens of reading, or as many requests: what a hit in the cache is worth waiting for at most."""

NOTHING_CACHED: Final[Mapping[str, int]] = MappingProxyType({})


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
    pool: list[R] = []
    aside = True
    for replica in replicas:
        if replica.ready and replica.aside_until <= now and replica.id not in tried:
            aside = False
            if not replica.full:
                pool.append(replica)
    if aside:
        pool = [r for r in replicas if r.ready and r.id not in tried and not r.full]
    if len(pool) < 2:
        return pool[0] if pool else None
    if session:
        return max(pool, key=lambda replica: xxh3_64_intdigest(session + b"|" + replica.id.encode()))
    if cached:
        return _cheapest(_preferred(pool, blocks, cached), rotation, cached)
    return _cheapest(pool, rotation, cached)


def _preferred(pool: list[R], blocks: int, cached: Mapping[str, int]) -> list[R]:
    """Return those that hold enough of the prompt, or all when none does or they have too much to do (rule 5)."""
    enough = STICKY_SHARE * blocks
    sticky = [replica for replica in pool if cached[replica.id] >= enough]
    if not sticky or len(sticky) == len(pool):
        return pool
    least = min([replica.load - cached[replica.id] for replica in sticky])
    others = min([replica.load - cached[replica.id] for replica in pool if cached[replica.id] < enough])
    return sticky if least <= others + SPILL_BLOCKS else pool


def _cheapest(pool: list[R], rotation: int, cached: Mapping[str, int]) -> R:
    equals = pool
    lowest: tuple[int, int] | None = None
    for replica in pool:
        load = replica.load - cached[replica.id] if cached else replica.load  # of one prompt, so its size is no matter
        cost = (load, replica.outstanding)
        if lowest is None or cost < lowest:
            lowest, equals = cost, [replica]
        elif cost == lowest:
            equals.append(replica)
    return equals[rotation % len(equals)]
