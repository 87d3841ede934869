"""When a replica is left aside and when it comes back."""

from hypothesis import given
from hypothesis import strategies as st

from modelgrid.decide.breaker import CLOSED, EJECT_AFTER, MAX_EJECTIONS, Breaker, after_failure, after_success


def fail(breaker: Breaker, now: float, times: int = 1, *, unreachable: bool = False) -> Breaker:
    for _ in range(times):
        breaker = after_failure(breaker, now, seconds=30, unreachable=unreachable)
    return breaker


def succeed(breaker: Breaker, now: float, *, probe: bool = False) -> Breaker:
    return after_success(breaker, now, seconds=30, probe=probe)


def test_five_failures_in_a_row_eject_and_an_answer_between_them_begins_anew() -> None:
    four = fail(CLOSED, 0, EJECT_AFTER - 1)
    assert (four.aside_until, four.half_open) == (0, False)
    assert fail(succeed(four, 0), 0, EJECT_AFTER - 1).aside_until == 0
    five = fail(four, 7)
    assert (five.aside_until, five.half_open) == (37, True)


def test_each_ejection_in_a_row_lasts_longer() -> None:
    breaker, now, lasted = fail(CLOSED, 0, EJECT_AFTER - 1), 0.0, []
    for _ in range(MAX_EJECTIONS + 2):
        breaker = fail(breaker, now)  # the probe fails, too
        lasted.append(breaker.aside_until - now)
        now = breaker.aside_until
    assert lasted == [30.0 * number for number in range(1, MAX_EJECTIONS + 1)] + [300.0, 300.0]


def test_requests_from_before_the_ejection_change_nothing_any_more() -> None:
    breaker = fail(CLOSED, 0, EJECT_AFTER)
    assert fail(breaker, 10, 20).aside_until == 30
    assert succeed(breaker, 10) == breaker


def test_a_probe_that_succeeds_closes_and_the_count_is_forgotten_after_as_long_as_it_was_aside() -> None:
    breaker = fail(fail(CLOSED, 0, EJECT_AFTER), 30)  # ejected twice: until 90
    closed = succeed(breaker, 90, probe=True)
    assert (closed.half_open, closed.aside_until <= 90, closed.ejections) == (False, True, 2)
    assert fail(closed, 100, EJECT_AFTER).aside_until == 100 + 3 * 30
    assert succeed(closed, 149).ejections == 2
    assert succeed(closed, 150) is CLOSED


def test_one_that_cannot_be_reached_is_aside_for_a_second() -> None:
    breaker = fail(CLOSED, 10, unreachable=True)
    assert (breaker.aside_until, breaker.half_open) == (11, False)
    assert succeed(breaker, 10.5).aside_until <= 10.5


@given(st.lists(st.tuples(st.sampled_from(["fail", "refuse", "answer", "probe"]), st.floats(0, 100)), max_size=60))
def test_it_never_stays_away_for_ever_and_an_answered_probe_always_brings_it_back(
    story: list[tuple[str, float]],
) -> None:
    breaker, now = CLOSED, 0.0
    for what, pause in story:
        now += pause
        if what in {"fail", "refuse"}:
            breaker = fail(breaker, now, unreachable=what == "refuse")
        else:
            breaker = succeed(breaker, now, probe=what == "probe")
        assert breaker.aside_until <= now + 300
        assert breaker.half_open or breaker.aside_until <= now + 1
        back = succeed(breaker, max(now, breaker.aside_until), probe=True)
        assert (back.failures, back.aside_until <= max(now, breaker.aside_until)) == (0, True)
