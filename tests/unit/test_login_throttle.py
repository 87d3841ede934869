"""How tries at passwords are slowed down (S7)."""

import contextlib

import pytest
from set_clock import SetClock

from modelgrid.decide.throttle import ACCOUNT_AND_SOURCE, SOURCE, ThrottleRule, Tries, seconds_to_wait, with_a_try
from modelgrid.domain.errors import TooManyRequests
from modelgrid.services import login_throttle
from modelgrid.services.login_throttle import LoginThrottle

RULE = ThrottleRule(free=3, first_wait=2.0, longest_wait=30.0, forget_after=100.0)


def tries_at_once(throttle: LoginThrottle, account: str, source: str, count: int) -> int:
    """Return how many of `count` tries were let through."""
    through = 0
    for _ in range(count):
        with contextlib.suppress(TooManyRequests):
            throttle.begin(account, source)
            through += 1
    return through


@pytest.mark.parametrize(
    ("count", "wait"), [(0, 0), (2, 0), (3, 2), (4, 4), (5, 8), (6, 16), (7, 30), (8, 30), (10_000, 30)]
)
def test_waits_double_up_to_the_longest(count: int, wait: float) -> None:
    assert seconds_to_wait(RULE, Tries(count=count, last_at=50.0), 50.0) == wait
    assert seconds_to_wait(RULE, Tries(count=count, last_at=50.0), 50.0 + wait) == 0


def test_after_a_quiet_time_counting_starts_anew() -> None:
    many = Tries(count=50, last_at=0.0)
    assert seconds_to_wait(RULE, many, 29.0) == 1.0
    assert with_a_try(RULE, many, 100.0).count == 51
    assert with_a_try(RULE, many, 100.1) == Tries(count=1, last_at=100.1)


def test_a_thousand_tries_at_once_get_few_chances() -> None:
    clock = SetClock()
    assert tries_at_once(LoginThrottle(clock), "admin", "203.0.113.9", 1000) == ACCOUNT_AND_SOURCE.free


def test_who_keeps_trying_gets_a_dozen_chances_an_hour() -> None:
    clock, through = SetClock(), 0
    throttle = LoginThrottle(clock)
    for _ in range(3600):
        through += tries_at_once(throttle, "admin", "203.0.113.9", 3)
        clock.at += 1
    print(f"chances in an hour: {through}")
    assert through <= 5 + 9 + 3600 / ACCOUNT_AND_SOURCE.longest_wait


def test_who_has_to_wait_is_told_how_long() -> None:
    throttle = LoginThrottle(SetClock())
    tries_at_once(throttle, "admin", "203.0.113.9", 5)
    with pytest.raises(TooManyRequests) as refused:
        throttle.begin("admin", "203.0.113.9")
    assert refused.value.details["retry_after"] == 1


def test_many_accounts_from_one_address_are_slowed_down_together() -> None:
    throttle = LoginThrottle(SetClock())
    assert sum(tries_at_once(throttle, f"user{n}", "203.0.113.9", 1) for n in range(1000)) == SOURCE.free


def test_the_owner_gets_in_from_another_address() -> None:
    throttle = LoginThrottle(SetClock())
    for n in range(100):
        tries_at_once(throttle, "admin", f"203.0.113.{n}", 20)
    assert tries_at_once(throttle, "admin", "198.51.100.1", 1) == 1


def test_a_right_password_clears_the_account_but_not_other_tries() -> None:
    throttle = LoginThrottle(SetClock())
    tries_at_once(throttle, "stranger", "203.0.113.9", 5)
    for _ in range(50):
        throttle.begin("admin", "203.0.113.9")
        throttle.succeeded("admin", "203.0.113.9")
    assert tries_at_once(throttle, "stranger", "203.0.113.9", 1) == 0


def test_one_ipv6_network_is_one_source() -> None:
    throttle = LoginThrottle(SetClock())
    assert sum(tries_at_once(throttle, "admin", f"2001:db8::{n:x}", 1) for n in range(1000)) == 5
    assert tries_at_once(throttle, "admin", "2001:db8:0:1::1", 1) == 1
    assert sum(tries_at_once(throttle, "root", f"::ffff:203.0.113.{n}", 1) for n in (7, 8)) == 2


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_throttle, "MOST_ENTRIES", 100)
    throttle = LoginThrottle(SetClock())
    tries_at_once(throttle, "admin", "203.0.113.1", 5)
    for n in range(99):
        throttle.begin("admin", f"2001:db8:{n:x}::1")
    assert tries_at_once(throttle, "admin", "203.0.113.1", 1) == 0
    throttle.begin("admin", "2001:db8:ffff::1")
    assert tries_at_once(throttle, "admin", "203.0.113.1", 1) == 1, "the one counted longest ago was forgotten"
