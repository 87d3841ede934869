"""The choice of a replica."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from modelgrid.decide.route import choose


@dataclass
class Load:
    id: str
    ready: bool = True
    outstanding: int = 0
    full: bool = False
    suspect_until: float = 0.0


loads = st.lists(
    st.builds(
        Load,
        id=st.uuids().map(str),
        ready=st.booleans(),
        outstanding=st.integers(0, 5),
        full=st.booleans(),
        suspect_until=st.sampled_from([0.0, 5.0, 50.0]),
    ),
    max_size=6,
)


def test_nothing_to_choose_from() -> None:
    assert choose([], now=0, rotation=3) is None
    assert choose([Load("a", ready=False)], now=0, rotation=0) is None
    assert choose([Load("a")], now=0, rotation=0, tried={"a"}) is None


def test_the_least_outstanding_wins() -> None:
    replicas = [Load("a", outstanding=2), Load("b", outstanding=1), Load("c", outstanding=3)]
    for rotation in range(6):
        chosen = choose(replicas, now=0, rotation=rotation)
        assert chosen is not None
        assert chosen.id == "b"


def test_equals_take_turns_evenly_whatever_stands_between_them() -> None:
    replicas = [Load("a"), Load("x", ready=False), Load("b"), Load("y", outstanding=1)]
    chosen = [choose(replicas, now=0, rotation=rotation) for rotation in range(10)]
    assert [replica.id for replica in chosen if replica is not None] == ["a", "b"] * 5


def test_one_that_refused_a_moment_ago_is_left_aside_while_another_remains() -> None:
    suspect, busy = Load("a", suspect_until=10), Load("b", outstanding=9)
    assert choose([suspect, busy], now=5, rotation=0) is busy
    assert choose([suspect, busy], now=10, rotation=0) is suspect
    assert choose([suspect], now=5, rotation=0) is suspect
    assert choose([suspect, busy], now=5, rotation=0, tried={"b"}) is suspect


def test_a_full_replica_takes_no_more_even_when_the_others_are_out_of_reach() -> None:
    full, suspect = Load("a", full=True), Load("b", suspect_until=10)
    assert choose([full], now=5, rotation=0) is None
    assert choose([full, suspect], now=5, rotation=0) is None, "better to wait than to go to one that refuses"
    assert choose([full, suspect], now=10, rotation=0) is suspect


@given(loads, st.integers(0, 100), st.floats(0, 100))
def test_the_choice_obeys_its_rules(replicas: list[Load], rotation: int, now: float) -> None:
    tried = {replica.id for replica in replicas[::3]}
    chosen = choose(replicas, now=now, rotation=rotation, tried=tried)
    eligible = [replica for replica in replicas if replica.ready and replica.id not in tried]
    healthy = [replica for replica in eligible if replica.suspect_until <= now]
    free = [replica for replica in healthy or eligible if not replica.full]
    if chosen is None:
        assert free == []
        return
    assert chosen in free
    assert chosen.outstanding == min(replica.outstanding for replica in free)


@given(loads, st.integers(0, 100))
def test_order_decides_ties_only(replicas: list[Load], rotation: int) -> None:
    one = choose(replicas, now=10, rotation=rotation)
    other = choose(replicas[::-1], now=10, rotation=rotation)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one.outstanding == other.outstanding
