"""Work for the whole fleet leaves the event loop to others."""

import pytest

from modelgrid.services.pace import LONGEST_SECONDS, pause_after


@pytest.mark.parametrize(
    ("worked", "expected"), [(0.0, 0.0), (0.002, 0.006), (0.3, 0.9), (5.0, LONGEST_SECONDS), (-1.0, 0.0)]
)
def test_rest_is_three_times_the_work_and_bounded(worked: float, expected: float) -> None:
    assert pause_after(worked) == pytest.approx(expected)
    assert pause_after(worked, 0.25) == pytest.approx(min(expected, 0.25))
