"""`fit` looks for places in an index of what is free. It decides what looking at every GPU would, to the last word."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from placement_strategies import ENTRIES, constraints, nodes, specs
from reference_fit import reference_fit

from modelgrid.decide.capacity import Capacity, Site, View
from modelgrid.decide.fit import FitRequest, fit_into
from modelgrid.decide.fit_rules import Needs
from modelgrid.decide.promises import Device, Promise, Promises, places
from modelgrid.domain.ids import ModelId, NodeName
from modelgrid.domain.node import Node, NodeLiveness, NodeStatus
from modelgrid.domain.target import RuntimeKind

MOST_PLACEMENTS = 6


@st.composite
def promised(draw: st.DrawFn, cluster: tuple[Node, ...]) -> Promises:
    held = {}
    for node in cluster:
        for gpu in (None, *node.inventory.gpus):
            total = gpu.vram_total_bytes if gpu else node.memory_total_bytes
            if share := draw(st.sampled_from((0, 0, 0, 4, 8, 16))):
                promise = Promise(
                    holder=f"{node.name}-{gpu.id if gpu else 'host'}",
                    bytes=total * share // 16,
                    measured=draw(st.booleans()),
                    exclusive=gpu is not None and draw(st.integers(0, 9)) == 0,
                )
                held[node.name, gpu.id if gpu else None] = (promise,)
    return Promises(by_device=held)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Node, ...]:
    """Some nodes, and some copies of them: like nodes are the usual case, and where orders are easily wrong."""
    kinds = [draw(nodes(f"kind-{number}")) for number in range(draw(st.integers(1, 3)))]
    names = draw(st.permutations([f"node-{number:02d}" for number in range(draw(st.integers(0, 24)))]))
    return tuple(
        replace(
            draw(st.sampled_from(kinds)),
            name=NodeName(name),
            status=draw(st.sampled_from((*[NodeStatus.ACTIVE] * 9, NodeStatus.CORDONED))),
            liveness=draw(st.sampled_from((*[NodeLiveness.READY] * 9, NodeLiveness.LOST))),
        )
        for name in names
    )


@st.composite
def requests(draw: st.DrawFn, cluster: tuple[Node, ...]) -> FitRequest:
    model = ModelId(draw(st.sampled_from([*ENTRIES, "org/unknown"])))
    spec = draw(specs())
    gpus = [(node.name, gpu.id) for node in cluster for gpu in node.inventory.gpus]
    return FitRequest(
        target="asked",
        model=model,
        entry=ENTRIES.get(model),
        spec=spec,
        constraints=draw(constraints()),
        runtime=RuntimeKind.EXTERNAL if spec.url else RuntimeKind.DOCKER,
        spread=Counter(draw(st.lists(st.sampled_from([node.name for node in cluster]), max_size=8)) if cluster else ()),
        spread_gpus=Counter(draw(st.lists(st.sampled_from(gpus), max_size=8)) if gpus else ()),
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[tuple[Node, ...], Promises, list[FitRequest]]:
    cluster = draw(clusters())
    held = draw(promised(cluster))
    return cluster, held, [draw(requests(cluster)) for _ in range(draw(st.integers(1, MOST_PLACEMENTS)))]


@given(situations())
def test_the_index_decides_as_looking_at_everything_would(situation):
    """One placement after the other, each seeing those before it, with views of the index that are kept meanwhile."""
    cluster, held, asked = situation
    capacity = Capacity(cluster, held)
    by_name = {node.name: node for node in cluster}
    for number, request in enumerate(asked):
        expected = reference_fit(request, cluster, held)
        assert fit_into(request, capacity, Needs(request)) == expected
        if expected.node is None:
            continue
        holder, there = f"new-{number}", by_name[expected.node]
        capacity.give(holder, expected)
        merged = dict(held.by_device)
        for device, promise in places(holder, expected.need, there.name, expected.gpus, there.inventory.gpus):
            merged[device] = (*merged.get(device, ()), promise)
        held = Promises(by_device=merged)


@st.composite
def changed(draw: st.DrawFn) -> tuple[FitRequest, tuple[Site, ...], tuple[Site, ...]]:
    """What a cluster was, and what it is after news of some of its nodes: most say what they said."""
    before = draw(clusters())
    likely = st.integers(0, 3)
    after = tuple(
        replace(draw(st.sampled_from(before)), name=node.name) if draw(likely) == 0 else node for node in before
    )
    held, now = draw(promised(before)), draw(promised(after))
    same = Promises(by_device={at: given for at, given in held.by_device.items() if at in {*_devices(after)}})
    return (
        draw(requests(before)),
        tuple(Site(node, held) for node in before),
        tuple(Site(node, now if draw(likely) == 0 else same) for node in after),
    )


def _devices(cluster: tuple[Node, ...]) -> Iterator[Device]:
    for node in cluster:
        yield from ((node.name, gpu.id if gpu else None) for gpu in (None, *node.inventory.gpus))


def _said(view: View) -> tuple[object, ...]:
    shelves = {key: (shelf.empty, shelf.shared, shelf.whole) for key, shelf in view.shelves.items() if shelf}
    derived = (view.names, view.closed_by_code, view.bare, view.most_gpus, view.by_room)
    return (
        {name: (node, rule.code) for name, (node, rule) in view.closed.items()},
        view.sites,
        view.hosts,
        shelves,
        derived,
    )


@given(changed())
def test_an_index_that_was_mended_says_what_one_made_anew_does(
    change: tuple[FitRequest, tuple[Site, ...], tuple[Site, ...]],
) -> None:
    request, before, after = change
    mended = View(request, before)
    _said(mended)  # what is derived once must not be kept
    for was, now in zip(before, after, strict=True):
        mended.replace(was, now)
    assert _said(mended) == _said(View(request, after))
