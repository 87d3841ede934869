"""Quantiles of histograms.

As Prometheus' `histogram_quantile` has it (promql/quantile.go, `BucketQuantile`): observations are taken as spread
evenly over their bucket; the lowest bucket begins at 0 when its bound is positive; what lies above the highest finite
bound is reported as that bound.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


def histogram_quantile(q: float, bounds: Sequence[float], counts: Sequence[float]) -> float | None:
    """Return the `q` quantile, 0 ≤ q ≤ 1; `None` without observations.

    `bounds` are the finite upper bounds, rising; `counts` are per bucket (not cumulative), one more than bounds: the
    last counts what is above all."""
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"a quantile is between 0 and 1, not {q}")
    if len(counts) != len(bounds) + 1 or not bounds:
        raise ValueError(f"{len(bounds)} bounds need {len(bounds) + 1} counts, not {len(counts)}")
    reached = list(accumulate(counts))
    total = reached[-1]
    if total <= 0:
        return None
    rank = q * total
    bucket = bisect_left(reached, rank)
    while counts[bucket] == 0 and bucket < len(counts) - 1:  # q = 0: the first bucket that holds anything
        bucket += 1
    if bucket >= len(bounds):
        return bounds[-1]
    lower = bounds[bucket - 1] if bucket else min(0.0, bounds[0])
    if bucket == 0 and bounds[0] <= 0:
        return bounds[0]
    before = reached[bucket - 1] if bucket else 0.0
    return lower + (bounds[bucket] - lower) * (rank - before) / counts[bucket]
