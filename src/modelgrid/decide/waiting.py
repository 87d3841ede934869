"""Whether a request may wait for a replica of its model, and how long whoever may not should stay away.

The expected wait follows from what was measured: how long a replica holds a request (a moving mean), how many requests
all replicas hold at once, and for a model that is being loaded, how long its load took the last time.

Rules, first that holds decides:
1. As many requests wait as may: refused.
2. Replicas are there, and the wait would be longer than requests are kept waiting: refused at once rather than then.
3. It waits.
"""

from math import ceil
from typing import Final, NamedTuple

LONGEST_RETRY_SECONDS: Final = 3600


class Line(NamedTuple):
    """What is known of the requests that wait for one model. Times in seconds."""

    waiting: int
    """Requests that wait already, in all gateways."""
    limit: int
    patience: float
    """How long a request is kept waiting at most."""
    places: float
    """Requests that all ready replicas hold at once; 0 while none is ready, infinite where no bound is known."""
    service: float | None
    """Mean time for which a replica holds a request; None: not measured yet."""
    load_left: float
    """Until the first replica is ready, as far as loads were measured; 0 when one is."""


class Place(NamedTuple):
    """What one request is told."""

    waits: bool
    expected: float | None
    """Seconds until a replica takes it; None: nobody knows."""
    retry_after: int
    """Whole seconds after which a refused request should come again."""


def expected_wait(line: Line) -> float | None:
    """Return how long the next request would wait; None when nothing was measured."""
    if line.places == 0:
        return line.load_left
    if line.service is None:
        return None
    return line.load_left + (line.waiting + 1) * line.service / line.places


def stand_in_line(line: Line) -> Place:
    """Decide on one more request."""
    expected = expected_wait(line)
    retry_after = min(LONGEST_RETRY_SECONDS, max(1, ceil(expected if expected is not None else 1.0)))
    full = line.waiting >= line.limit
    too_long = line.places > 0 and expected is not None and expected > line.patience
    return Place(not (full or too_long), expected, retry_after)


def load_left(measured: float, since: float | None, now: float) -> float:
    """Return how much longer a load takes that took `measured` seconds the last time and began at `since`."""
    return max(1.0, measured - (max(0.0, now - since) if since is not None else 0.0))
