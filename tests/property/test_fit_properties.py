"""What every decision of `fit` keeps to, whatever the cluster and the request."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from placement_strategies import ENTRIES, clusters, is_open, targets, wanted

from modelgrid.decide.fit import FitRequest, fit
from modelgrid.decide.need import device_need, footprint, gpu_counts, is_exclusive
from modelgrid.decide.promises import Promise, Promises
from modelgrid.domain.node import Node
from modelgrid.domain.target import RuntimeKind, Target
from modelgrid.domain.units import GIB

ONE_TARGET = targets("asked")


def asked(target: Target) -> FitRequest:
    return FitRequest(
        target=target.name,
        model=target.model,
        entry=ENTRIES.get(target.model),
        spec=target.spec,
        constraints=target.constraints,
        runtime=wanted(target),
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[tuple[Node, ...], Promises]:
    cluster = draw(clusters())
    held = {}
    for node in cluster:
        for gpu in (None, *node.inventory.gpus):
            total = gpu.vram_total_bytes if gpu else node.memory_total_bytes
            share = draw(st.sampled_from((0, 0, 0, 4, 8, 16)))
            if share:
                promise = Promise(
                    holder=f"{node.name}-{gpu.id if gpu else 'host'}",
                    bytes=total * share // 16,
                    measured=draw(st.booleans()),
                    exclusive=gpu is not None and draw(st.integers(0, 9)) == 0,
                )
                held[node.name, gpu.id if gpu else None] = (promise,)
    return cluster, Promises(by_device=held)


@given(situations(), ONE_TARGET)
def test_what_is_placed_has_room_where_it_was_placed(situation, target):
    cluster, held = situation
    decision = fit(asked(target), cluster, held)
    if decision.node is None or target.spec.url:
        return
    node = next(node for node in cluster if node.name == decision.node)
    if decision.need.gpu_count == 0:
        assert decision.gpus == ()
        assert decision.need.per_gpu_bytes <= held.available_bytes(node, None)
        return
    chosen = [gpu for gpu in node.inventory.gpus if gpu.id in decision.gpus]
    assert len(chosen) == len(decision.gpus) == decision.need.gpu_count
    assert len({(gpu.vendor, gpu.name) for gpu in chosen}) == 1
    for gpu in chosen:
        measured = sum(promise.bytes for promise in held.on(node.name, gpu.id))
        takes = footprint(decision.need, gpu.vram_total_bytes)
        assert takes + measured <= gpu.vram_total_bytes
        assert takes <= gpu.vram_free_bytes - sum(p.bytes for p in held.on(node.name, gpu.id) if not p.measured)
        assert not any(promise.exclusive for promise in held.on(node.name, gpu.id))
        assert not (is_exclusive(decision.need) and held.on(node.name, gpu.id))
        assert not gpu.mig_enabled
        assert node.assignments.get(gpu.id, target.model) in (target.model, target.name)


@given(situations(), ONE_TARGET)
def test_nothing_lands_where_it_may_not(situation, target):
    cluster, held = situation
    decision = fit(asked(target), cluster, held)
    if decision.node is None:
        return
    node = next(node for node in cluster if node.name == decision.node)
    assert is_open(node)
    assert target.constraints.node in (None, node.name)
    assert all(node.labels.get(name) == value for name, value in target.constraints.labels.items())
    assert target.spec.url or RuntimeKind.DOCKER in node.runtimes
    if decision.gpus:
        assert not node.inventory.stale
        assert not target.spec.gpus or set(decision.gpus) == set(target.spec.gpus)
        vendors = {gpu.vendor for gpu in node.inventory.gpus if gpu.id in decision.gpus}
        assert target.constraints.vendor is None or vendors == {target.constraints.vendor}


@given(situations(), ONE_TARGET)
def test_each_decision_is_placed_or_explains(situation, target):
    cluster, held = situation
    decision = fit(asked(target), cluster, held)
    chosen = [verdict for verdict in decision.verdicts if verdict.chosen]
    assert decision.summary
    assert all(verdict.code and verdict.reason for verdict in decision.verdicts)
    if decision.placed:
        assert {verdict.node for verdict in chosen} == {decision.node}
        assert {verdict.gpu for verdict in chosen} == (set(decision.gpus) or {None})
        assert all(verdict.code == "chosen" for verdict in chosen)
    else:
        assert not chosen
        assert decision.gpus == ()
        assert not {"fits", "chosen", "not_chosen"} & {verdict.code for verdict in decision.verdicts}


@given(situations(), ONE_TARGET)
def test_every_candidate_has_its_verdict(situation, target):
    cluster, held = situation
    decision = fit(asked(target), cluster, held)
    said = [(verdict.node, verdict.gpu) for verdict in decision.verdicts]
    assert len(said) == len(set(said))
    for node in cluster:
        whole = (node.name, None) in said
        each = all((node.name, gpu.id) in said for gpu in node.inventory.gpus) and bool(node.inventory.gpus)
        assert whole or each
        if is_open(node) and not whole:
            assert each


@given(situations(), ONE_TARGET, st.randoms(use_true_random=False))
def test_order_does_not_matter(situation, target, random):
    cluster, held = situation
    shuffled = []
    for node in random.sample(cluster, len(cluster)):
        gpus = tuple(random.sample(node.inventory.gpus, len(node.inventory.gpus)))
        shuffled.append(_with_gpus(node, gpus))
    assert fit(asked(target), cluster, held) == fit(asked(target), shuffled, held)


@given(situations(), ONE_TARGET)
def test_what_is_refused_has_no_single_gpu_with_room(situation, target):
    """An independent look for the simplest place: one GPU, on a node that is open, that nothing speaks against."""
    cluster, held = situation
    request = asked(target)
    if target.spec.url or target.spec.gpus or gpu_counts(request.entry, request.spec, 8)[0] != 1:
        return
    if fit(request, cluster, held).placed:
        return
    for node in cluster:
        if not is_open(node) or node.inventory.stale or "docker" not in node.runtimes:
            continue
        if target.constraints.node not in (None, node.name) or target.constraints.labels.items() - node.labels.items():
            continue
        for gpu in node.inventory.gpus:
            if gpu.mig_enabled or gpu.id in node.assignments or held.on(node.name, gpu.id):
                continue
            if target.constraints.vendor in (None, gpu.vendor):
                need = device_need(request.entry, request.spec, 1, gpu)
                assert need.per_gpu_bytes > min(gpu.vram_free_bytes, gpu.vram_total_bytes * 94 // 100) - GIB // 4


@given(situations(), ONE_TARGET, st.data())
def test_one_more_promise_never_makes_room(situation, target, data):
    cluster, held = situation
    request = asked(target)
    if not cluster or fit(request, cluster, held).placed:
        return
    node = data.draw(st.sampled_from(cluster))
    gpu = data.draw(st.sampled_from((None, *(gpu.id for gpu in node.inventory.gpus))))
    more = dict(held.by_device)
    more[node.name, gpu] = (
        *held.on(node.name, gpu),
        Promise(holder="more", bytes=GIB, measured=data.draw(st.booleans())),
    )
    assert not fit(request, cluster, Promises(by_device=more)).placed


def _with_gpus(node, gpus):
    return replace(node, inventory=replace(node.inventory, gpus=gpus))
