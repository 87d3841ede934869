"""The choice of a replica."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from modelgrid.decide.route import SPILL_BLOCKS, choose


@dataclass
class Load:
    id: str
    ready: bool = True
    outstanding: int = 0
    aside_until: float = 0.0
    unread: int = 0
    full: bool = False

    @property
    def load(self) -> int:
        return self.outstanding + self.unread


loads = st.lists(
    st.builds(
        Load,
        id=st.uuids().map(str),
        ready=st.booleans(),
        outstanding=st.integers(0, 5),
        full=st.booleans(),
        aside_until=st.sampled_from([0.0, 5.0, 50.0]),
        unread=st.sampled_from([0, 0, 1, 100]),
    ),
    max_size=6,
)


def test_nothing_to_choose_from() -> None:
    assert choose([], now=0, rotation=3) is None
    assert choose([Load("a", ready=False)], now=0, rotation=0) is None
    assert choose([Load("a")], now=0, rotation=0, tried={"a"}) is None


def test_the_least_loaded_wins() -> None:
    replicas = [Load("a", outstanding=1, unread=9), Load("b", outstanding=8), Load("c", outstanding=3, unread=6)]
    for rotation in range(6):
        chosen = choose(replicas, now=0, rotation=rotation)
        assert chosen is not None
        assert chosen.id == "b"


def test_equals_take_turns_evenly_whatever_stands_between_them() -> None:
    replicas = [Load("a"), Load("x", ready=False), Load("b"), Load("y", outstanding=1)]
    chosen = [choose(replicas, now=0, rotation=rotation) for rotation in range(10)]
    assert [replica.id for replica in chosen if replica is not None] == ["a", "b"] * 5


def test_of_equal_loads_the_fewer_requests_win() -> None:
    replicas = [Load("a", outstanding=9), Load("b", outstanding=1, unread=8)]
    assert choose(replicas, now=0, rotation=0) is replicas[1]


def test_one_that_is_aside_is_left_out_while_another_remains() -> None:
    suspect, busy = Load("a", aside_until=10), Load("b", outstanding=9)
    assert choose([suspect, busy], now=5, rotation=0) is busy
    assert choose([suspect, busy], now=10, rotation=0) is suspect
    assert choose([suspect], now=5, rotation=0) is suspect
    assert choose([suspect, busy], now=5, rotation=0, tried={"b"}) is suspect


def test_a_full_replica_takes_no_more_even_when_the_others_are_out_of_reach() -> None:
    full, suspect = Load("a", full=True), Load("b", aside_until=10)
    assert choose([full], now=5, rotation=0) is None
    assert choose([full, suspect], now=5, rotation=0) is None, "better to wait than to go to one that refuses"
    assert choose([full, suspect], now=10, rotation=0) is suspect


@given(loads, st.integers(0, 100), st.floats(0, 100))
def test_the_choice_obeys_its_rules(replicas: list[Load], rotation: int, now: float) -> None:
    tried = {replica.id for replica in replicas[::3]}
    chosen = choose(replicas, now=now, rotation=rotation, tried=tried)
    eligible = [replica for replica in replicas if replica.ready and replica.id not in tried]
    healthy = [replica for replica in eligible if replica.aside_until <= now]
    free = [replica for replica in healthy or eligible if not replica.full]
    if chosen is None:
        assert free == []
        return
    assert chosen in free
    assert chosen.load == min(replica.load for replica in free)


@given(loads, st.integers(0, 100))
def test_order_decides_ties_only(replicas: list[Load], rotation: int) -> None:
    one = choose(replicas, now=10, rotation=rotation)
    other = choose(replicas[::-1], now=10, rotation=rotation)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert (one.load, one.outstanding) == (other.load, other.outstanding)


def test_who_holds_the_prompt_is_preferred_up_to_the_spill_bound() -> None:
    cold, warm = Load("cold"), Load("warm")
    cached = {"cold": 0, "warm": 8}
    for load, chosen in ((0, warm), (8 + SPILL_BLOCKS, warm), (8 + SPILL_BLOCKS + 1, cold)):
        warm.outstanding = load  # it would have 2 blocks to read, the cold one 10
        assert choose([cold, warm], now=0, rotation=0, blocks=10, cached=cached) is chosen
    warm.outstanding, cached["warm"] = 4, 7  # below the share that makes it stick: the costs decide alone
    assert choose([cold, warm], now=0, rotation=0, blocks=10, cached=cached) is warm
    warm.outstanding = 8
    assert choose([cold, warm], now=0, rotation=0, blocks=10, cached=cached) is cold


def test_of_several_that_hold_the_prompt_the_cheapest_wins() -> None:
    replicas = [Load("a", outstanding=3), Load("b", outstanding=1), Load("c")]
    cached = {"a": 10, "b": 9, "c": 0}
    assert choose(replicas, now=0, rotation=0, blocks=10, cached=cached) is replicas[1]


@given(loads, st.binary(min_size=1, max_size=20), st.integers(0, 9))
def test_a_session_stays_where_it_is_until_its_replica_goes(
    replicas: list[Load], session: bytes, rotation: int
) -> None:
    first = choose(replicas, now=100, rotation=0, session=session)
    assert choose(replicas[::-1], now=100, rotation=rotation, session=session) is first
    if first is None:
        return
    others = [replica for replica in replicas if replica is not first]
    for other in others:  # the others do not matter: neither that they go nor that they are idle
        rest = [replica for replica in replicas if replica is not other]
        assert choose(rest, now=100, rotation=rotation, session=session) is first
    second = choose(replicas, now=100, rotation=0, session=session, tried={first.id})
    assert second is choose(others, now=100, rotation=0, session=session)


def test_sessions_spread() -> None:
    replicas = [Load(f"replica-{number}") for number in range(4)]
    chosen = Counter(
        replica.id
        for number in range(400)
        if (replica := choose(replicas, now=0, rotation=0, session=b"session-%d" % number)) is not None
    )
    assert min(chosen.values()) > 60
    assert len(chosen) == 4
