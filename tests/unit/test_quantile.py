"""Quantiles of histograms, against Prometheus' own test values and against what was observed."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.decide.quantile import histogram_quantile

BOUNDS = (0.1, 0.2, 0.5, 1.0)


@pytest.mark.parametrize(
    ("q", "bounds", "counts", "expected"),
    [
        # promqltest/testdata/histograms.test, testhistogram3: le 0.1 → 5, 0.2 → 7, +Inf → 12 (start="positive")
        (0.0, (0.1, 0.2), (5, 2, 5), 0.0),
        (0.25, (0.1, 0.2), (5, 2, 5), 0.06),
        (0.5, (0.1, 0.2), (5, 2, 5), 0.15),
        (0.75, (0.1, 0.2), (5, 2, 5), 0.2),
        (1.0, (0.1, 0.2), (5, 2, 5), 0.2),
        # the same, start="negative": le -0.2 → 1, -0.1 → 2, 0.3 → 4, +Inf → 4
        (0.25, (-0.2, -0.1, 0.3), (1, 1, 2, 0), -0.2),
        (0.5, (-0.2, -0.1, 0.3), (1, 1, 2, 0), -0.1),
        (0.75, (-0.2, -0.1, 0.3), (1, 1, 2, 0), 0.1),
        (1.0, (-0.2, -0.1, 0.3), (1, 1, 2, 0), 0.3),
        (0.5, BOUNDS, (0, 0, 0, 0, 0), None),
        (0.0, BOUNDS, (0, 0, 4, 0, 0), 0.2),
        (0.99, BOUNDS, (0, 0, 0, 0, 3), 1.0),
    ],
)
def test_as_prometheus_has_it(
    q: float, bounds: tuple[float, ...], counts: tuple[int, ...], expected: float | None
) -> None:
    assert histogram_quantile(q, bounds, counts) == pytest.approx(expected)


@given(st.lists(st.floats(0.001, 5.0), min_size=1), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_it_lies_in_the_bucket_of_the_observation_and_rises_with_q(
    values: list[float], one: float, other: float
) -> None:
    counts = [0] * (len(BOUNDS) + 1)
    for value in values:
        counts[bisect_left(BOUNDS, value)] += 1
    low, high = (histogram_quantile(q, BOUNDS, counts) for q in sorted((one, other)))
    assert low is not None
    assert high is not None
    assert low <= high + 1e-12
    rank = sorted(values)[max(0, -(-int(one * len(values) * 1e9) // 10**9) - 1)]
    found = histogram_quantile(one, BOUNDS, counts)
    assert found is not None
    bucket = bisect_left(BOUNDS, rank)
    lower = BOUNDS[bucket - 1] if bucket else 0.0
    assert lower - 1e-9 <= found <= (BOUNDS[bucket] if bucket < len(BOUNDS) else BOUNDS[-1]) + 1e-9


@pytest.mark.parametrize(("q", "counts"), [(-0.1, (1,) * 5), (1.1, (1,) * 5), (0.5, (1,) * 4)])
def test_nonsense_is_refused(q: float, counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"quantile|bounds"):
        histogram_quantile(q, BOUNDS, counts)
