"""Changes of the cluster's routing: whoever follows them, as they come or several at once, knows what was said."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.decide.routing_change import change_between, merged, with_change
from modelgrid.domain.cluster import SharedRouting
from modelgrid.domain.routing import KeyGrant, ModelRoute, ModelState, Peer

NAMES = st.sampled_from(["a", "b", "c", "d"])
MODELS = st.dictionaries(NAMES, st.integers(1, 3)).map(
    lambda found: tuple(
        ModelRoute(id=name, names=(name,), state=ModelState.STOPPED, created=value)
        for name, value in sorted(found.items())
    )
)
KEYS = st.dictionaries(NAMES, st.integers(1, 3)).map(
    lambda found: tuple(KeyGrant(id=name, label=str(value), digest=name) for name, value in sorted(found.items()))
)
PEERS = st.dictionaries(st.tuples(NAMES, NAMES), st.integers(1, 3)).map(
    lambda found: tuple(
        Peer(node=node, digest=digest, host="h", port=port, certificate="")
        for (node, digest), port in sorted(found.items())
    )
)
STATES = st.lists(
    st.builds(
        SharedRouting,
        epoch=st.just(7),
        generation=st.just(0),
        models=MODELS,
        keys=KEYS,
        peers=PEERS,
        requests_per_minute=st.none() | st.integers(1, 2),
    ),
    min_size=2,
    max_size=6,
).map(lambda states: [replace(state, generation=number) for number, state in enumerate(states, 1)])


@given(STATES)
def test_changes_lead_to_what_they_were_made_from(states: list[SharedRouting]) -> None:
    known, changes = states[0], []
    for after in states[1:]:
        change = change_between(known, after)
        if change is None:
            assert replace(after, generation=known.generation) == known, "only what says nothing new is no change"
            continue
        changes.append(change)
        known = with_change(known, change)
        assert known == after
        assert with_change(SharedRouting(epoch=1, generation=9), after) == after, "what says all needs nothing known"
    if changes:
        assert with_change(states[0], merged(changes)) == known, "several at once say the same"


@given(STATES)
def test_a_change_of_another_state_is_refused(states: list[SharedRouting]) -> None:
    change = change_between(states[0], states[1])
    if change is None:
        return
    for stranger in (
        SharedRouting(epoch=7, generation=0),
        replace(states[0], epoch=6),
        replace(states[0], generation=2),
        states[-1],
    ):
        with pytest.raises(ValueError, match="is known"):
            with_change(stranger, change)
