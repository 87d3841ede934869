"""Limits of keys: never more than the bound, never less than the pace, nothing charged for what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.decide.admission import Bound, Limits, Verdict, admit, remaining, settle

EMPTY = (0.0, 0.0)
limits = st.integers(1, 5000)
arrivals = st.lists(st.tuples(st.floats(0, 40), st.integers(0, 3000)), min_size=1, max_size=60)
"""(seconds since the one before, tokens)."""


def after(verdict: Verdict) -> tuple[float, float]:
    """The state of the buckets that follows."""
    return verdict.requests_full_at, verdict.tokens_full_at


def passed(bounds: Limits, sequence: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """(time, tokens charged) of what was let through."""
    now, spent, out = 1000.0, EMPTY, []
    for gap, tokens in sequence:
        now += gap
        verdict = admit(bounds, spent, 0, tokens, now)
        if verdict.refused_by is None:
            out.append((now, tokens if bounds.tokens is None else min(tokens, bounds.tokens)))
        else:
            assert after(verdict) == spent
        spent = after(verdict)
    return out


@given(limits, arrivals)
def test_no_span_holds_more_than_the_bucket_and_what_flows_in(limit: int, sequence: list[tuple[float, int]]) -> None:
    for bounds, weigh in ((Limits(limit, None, None), False), (Limits(None, limit, None), True)):
        through = passed(bounds, sequence)
        for first, (begin, _) in enumerate(through):
            total = 0
            for end, tokens in through[first:]:
                total += tokens if weigh else 1
                assert total <= limit * (1 + (end - begin) / 60) + 1e-3


@given(limits, arrivals)
def test_whoever_waits_as_long_as_told_passes(limit: int, sequence: list[tuple[float, int]]) -> None:
    now, spent = 1000.0, EMPTY
    for bounds in (Limits(limit, None, None), Limits(None, limit, None), Limits(limit, limit, None)):
        for gap, tokens in sequence:
            now += gap
            verdict = admit(bounds, spent, 0, tokens, now)
            for _ in range(2):  # the second bound may be the tighter one
                if verdict.refused_by is not None:
                    assert verdict.wait_seconds > 0
                    now += verdict.wait_seconds
                    verdict = admit(bounds, spent, 0, tokens, now)
            assert verdict.refused_by is None
            spent = after(verdict)


@given(limits, st.integers(0, 10_000), st.integers(0, 10_000), st.floats(0, 59))
def test_what_was_reserved_is_settled_to_what_was_used(limit: int, reserved: int, used: int, later: float) -> None:
    now = 1000.0
    reserved = min(reserved, limit)
    start = now + 120.0  # in debt, so that nothing of the bucket overflows meanwhile
    state = settle(limit, start + reserved * 60 / limit, reserved, used, now + later)
    assert state == pytest.approx(start + used * 60 / limit)


@given(limits, st.integers(0, 10_000))
def test_a_request_without_use_leaves_the_bucket_as_full_as_it_was(limit: int, tokens: int) -> None:
    bounds, now = Limits(None, limit, None), 1000.0
    verdict = admit(bounds, EMPTY, 0, tokens, now)
    assert verdict.refused_by is None, "the bucket is full: even what is larger than it passes"
    left = settle(limit, verdict.tokens_full_at, min(tokens, limit), 0, now)
    assert remaining(limit, left, now) == limit


@given(st.integers(1, 50), st.integers(0, 100))
def test_concurrency_is_a_plain_count(limit: int, running: int) -> None:
    verdict = admit(Limits(None, None, limit), EMPTY, running, 0, 5.0)
    assert (verdict.refused_by is Bound.CONCURRENCY) == (running >= limit)


@given(limits, limits, st.integers(0, 5000))
def test_bounds_are_charged_together_or_not_at_all(requests: int, tokens: int, cost: int) -> None:
    bounds, now, spent = Limits(requests, tokens, None), 1000.0, EMPTY
    for _ in range(20):
        verdict = admit(bounds, spent, 0, cost, now)
        if verdict.refused_by is not None:
            assert after(verdict) == spent
            return
        assert verdict.requests_full_at > spent[0]
        spent = after(verdict)
