"""Who may wait, and what the others are told."""

from hypothesis import given
from hypothesis import strategies as st

from modelgrid.decide.waiting import LONGEST_RETRY_SECONDS, Line, expected_wait, load_left, stand_in_line

BUSY = Line(waiting=7, limit=256, patience=60.0, places=4, service=2.0, load_left=0.0)
lines = st.builds(
    Line,
    waiting=st.integers(0, 300),
    limit=st.integers(0, 256),
    patience=st.floats(0.1, 600),
    places=st.one_of(st.integers(0, 5000).map(float), st.just(float("inf"))),
    service=st.one_of(st.none(), st.floats(0.001, 1000)),
    load_left=st.floats(0, 1000),
)


def test_the_wait_is_what_those_before_take() -> None:
    assert expected_wait(BUSY) == 4.0
    assert stand_in_line(BUSY) == (True, 4.0, 4)


def test_a_full_line_says_when_it_has_moved_on() -> None:
    assert stand_in_line(BUSY._replace(limit=7)) == (False, 4.0, 4)


def test_nobody_is_kept_waiting_for_what_will_not_come_in_time() -> None:
    assert stand_in_line(BUSY._replace(service=40.0)) == (False, 80.0, 80)
    assert stand_in_line(BUSY._replace(service=None)) == (True, None, 1)


def test_a_model_that_loads_is_waited_for_even_when_it_takes_long() -> None:
    loading = BUSY._replace(places=0, service=None, load_left=300.0)
    assert stand_in_line(loading) == (True, 300.0, 300)
    assert stand_in_line(loading._replace(limit=7)) == (False, 300.0, 300)


def test_what_is_left_of_a_load() -> None:
    assert load_left(90.0, 1000.0, 1030.0) == 60.0
    assert load_left(90.0, None, 1030.0) == 90.0
    assert load_left(90.0, 1000.0, 5000.0) == 1.0
    assert load_left(90.0, 1000.0, 900.0) == 90.0, "the clock was set back"


@given(lines)
def test_answers_are_always_usable(line: Line) -> None:
    place = stand_in_line(line)
    assert 1 <= place.retry_after <= LONGEST_RETRY_SECONDS
    assert not place.waits or line.waiting < line.limit
    longer = stand_in_line(line._replace(waiting=line.waiting + 1))
    assert place.waits or not longer.waits, "a longer line never lets in whom a shorter one did not"
    assert longer.retry_after >= place.retry_after
