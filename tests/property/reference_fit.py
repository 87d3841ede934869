"""`fit` as it is defined: every GPU of every node is looked at for every instance. What the product does is compared
with it; it is slow and short."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypedDict

from modelgrid.decide.fit_rules import (
    FITS,
    FitRequest,
    GpuRule,
    Judged,
    Look,
    Needs,
    closed_node,
    closed_verdict,
    listed,
)
from modelgrid.decide.need import device_need, enough_gpus, gpu_counts, is_exclusive, largest_context, memory_need
from modelgrid.decide.promises import Promises
from modelgrid.decide.verdicts import MOST_BESIDE_A_PLACE, MOST_VERDICTS
from modelgrid.domain.gpu import Gpu
from modelgrid.domain.ids import NodeName
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.node import Node
from modelgrid.domain.placement import Decision, MemoryNeed, Verdict
from modelgrid.domain.target import Constraints, EngineSpec, RuntimeKind
from modelgrid.domain.units import format_bytes

Offer = tuple[Look, ...]
"""Like GPUs of one node that together are a place."""


def reference_fit(request: FitRequest, nodes: Sequence[Node], promises: Promises) -> Decision:
    """Decide where one instance goes. The order of `nodes` does not matter.

    A decision is either placed (`node` and, unless it runs on the CPU or elsewhere, `gpus` are set) or its summary
    and verdicts explain what is missing: one verdict for each GPU of each node that may be used, one for each node
    that may not."""
    nodes = sorted(nodes, key=lambda node: node.name)
    closed = {
        node.name: closed_verdict(request, node, rule)
        for node in nodes
        if (rule := closed_node(request, node)) is not None
    }
    opened = [node for node in nodes if node.name not in closed]
    if request.runtime is RuntimeKind.EXTERNAL:
        return _attach(request, opened, closed)
    counts = gpu_counts(request.entry, request.spec, max((len(node.inventory.gpus) for node in opened), default=0))
    if counts == (0,):
        return _on_cpu(request, opened, closed, promises)
    for count in counts:
        judged = looks_at(request, opened, count, promises)
        offers = _offers(request, judged, count)
        if offers:
            prefer = _packed(judged) if request.constraints.pack else _spread
            best = min(offers, key=prefer)
            return _placed(request, best, judged, closed, opened, counts)
    return _refused(request, opened, closed, promises, counts)


# --- 3. the best place


def _offers(request: FitRequest, judged: Iterable[Judged], count: int) -> list[Offer]:
    """Return the best `count` like GPUs of each kind on each node, where there are as many with room."""
    groups: dict[tuple[object, ...], list[Look]] = {}
    for look, rule in judged:
        if rule.code == FITS:
            groups.setdefault(look.alike, []).append(look)
    return [
        tuple(sorted(group, key=lambda look: _among_alike(request, look))[:count])
        for group in groups.values()
        if len(group) >= count
    ]


def _among_alike(request: FitRequest, look: Look) -> tuple[object, ...]:
    others = 0 if request.constraints.pack else request.spread_gpus.get((look.node.name, look.gpu.id), 0)
    return not look.assigned, others, look.leftover, look.gpu.index, look.gpu.id


def _spread(offer: Offer) -> tuple[object, ...]:
    """Less is better: GPUs kept for it, then nodes and GPUs without its like, then those that it fills best."""
    request, node = offer[0].request, offer[0].node.name
    return (
        sum(not look.assigned for look in offer),
        request.spread.get(node, 0),
        sum(request.spread_gpus.get((node, look.gpu.id), 0) for look in offer),
        *_filled(offer),
    )


def _packed(judged: Iterable[Judged]) -> Callable[[Offer], tuple[object, ...]]:
    """Less is better: GPUs kept for it, then the node with the least room that has enough, then the GPUs likewise."""
    room: Counter[NodeName] = Counter()
    for look, _ in judged:
        room[look.node.name] += look.available
    return lambda offer: (sum(not look.assigned for look in offer), room[offer[0].node.name], *_filled(offer))


def _filled(offer: Offer) -> tuple[object, ...]:
    leftover = sum(look.leftover for look in offer)
    return leftover, offer[0].node.name, [(look.gpu.vendor, look.gpu.index, look.gpu.id) for look in offer]


def _placed(
    request: FitRequest,
    offer: Offer,
    judged: Sequence[Judged],
    closed: Mapping[NodeName, Verdict],
    opened: Sequence[Node],
    counts: Sequence[int],
) -> Decision:
    node = offer[0].node
    gpus = tuple(look.gpu.id for look in sorted(offer, key=lambda look: look.gpu.index))
    better = f"{node.name} {listed(gpus)}"

    def verdict(look: Look, rule: GpuRule) -> Verdict:
        if look.node is node and look.gpu.id in gpus:
            return look.verdict("chosen", f"chosen: {look.numbers}", chosen=True)
        if rule.code == FITS:
            return look.verdict("not_chosen", f"{look.numbers}: it would do, {better} was preferred")
        return look.verdict(rule.code, rule.reason(look))

    verdicts = [verdict(look, rule) for look, rule in judged]
    each = " on each" if len(offer) > 1 else ""
    free = format_bytes(min(look.available for look in offer))
    summary = f"placed on {node.name} {listed(gpus)}: {format_bytes(offer[0].needed)} needed{each}, {free} free"
    if len(gpus) > counts[0]:
        summary += f" ({_gpu_words(counts[0])} would not do)"
    return Decision(
        node=node.name,
        gpus=gpus,
        need=offer[0].need,
        **_kept(_in_order([*verdicts, *_absent(request, opened)], closed)),
        summary=summary,
    )


# --- 4. no place


def _refused(
    request: FitRequest,
    opened: Sequence[Node],
    closed: Mapping[NodeName, Verdict],
    promises: Promises,
    counts: Sequence[int],
) -> Decision:
    by_count = {count: looks_at(request, opened, count, promises) for count in counts}
    first = by_count[counts[0]]
    verdicts = [*_absent(request, opened)]
    for position, (look, rule) in enumerate(first):
        code, reason = rule.code, rule.reason(look)
        if code == FITS:
            code = "too_few_gpus"
            reason = f"{reason}: it has room, but {counts[0]} like GPUs with room are needed on one node"
        elif code in ("too_little_memory", "larger_than_device"):
            larger = ((count, by_count[count][position][0].needed) for count in counts[1:])
            reason += "".join(f"; {format_bytes(needed)} on each of {count}" for count, needed in larger)
        verdicts.append(look.verdict(code, reason))
    need = min((look.need for look, _ in first), key=lambda need: need.per_gpu_bytes, default=None)
    if need is None:
        need = memory_need(request.entry, request.spec, counts[0]) or MemoryNeed(gpu_count=counts[0], terms=())
    ordered = _in_order(verdicts, closed)
    rooms = [
        (count, look.node.name, look.gpu, look.available if not look.held or not is_exclusive(look.need) else 0)
        for count, judged in by_count.items()
        for look, rule in judged
        if rule.code in ("too_little_memory", "larger_than_device", FITS)
    ]
    summary = explain(request.entry, request.spec, request.constraints, ordered, rooms, counts)
    return Decision(need=need, **_kept(ordered), summary=summary)


def _absent(request: FitRequest, opened: Iterable[Node]) -> list[Verdict]:
    """Verdicts for what is not there: pinned GPUs, and any GPU at all."""
    verdicts = []
    for node in opened:
        present = {gpu.id for gpu in node.inventory.gpus}
        for gpu in sorted(set(request.spec.gpus) - present):
            reason = f"{gpu} is pinned and not on {node.name}"
            verdicts.append(Verdict(node=node.name, gpu=gpu, code="gpu_missing", reason=reason))
        if not present:
            code = "inventory_stale" if node.inventory.stale else "no_gpu"
            reason = f"no GPU was found on {node.name}" + (
                f": {problem}" if (problem := node.inventory.problem) else ""
            )
            verdicts.append(Verdict(node=node.name, code=code, reason=reason))
    return verdicts


# --- without a GPU


def _on_cpu(
    request: FitRequest, opened: Sequence[Node], closed: Mapping[NodeName, Verdict], promises: Promises
) -> Decision:
    need = device_need(request.entry, request.spec, 0, None)
    size = need.per_gpu_bytes
    fitting = [
        node for node in opened if promises.available_bytes(node, None) >= size and size <= node.memory_total_bytes
    ]

    def preference(node: Node) -> tuple[object, ...]:
        room = promises.available_bytes(node, None)
        if request.constraints.pack:
            return room, node.name
        return request.spread.get(node.name, 0), -room, node.name

    best = min(fitting, key=preference, default=None)
    verdicts = []
    for node in opened:
        free, available = node.memory_available_bytes, promises.available_bytes(node, None)
        promised = f"{format_bytes(free - available)} of it promised, " if free > available else ""
        numbers = f"{format_bytes(free)} of host memory free, {promised}{format_bytes(size)} needed"
        if node is best:
            code, reason = "chosen", f"chosen: {numbers}"
        elif node in fitting:
            code, reason = "not_chosen", f"{numbers}: it would do, {best.name if best else ''} was preferred"
        elif size > node.memory_total_bytes:
            code = "larger_than_device"
            reason = f"{format_bytes(size)} needed, {format_bytes(node.memory_total_bytes)} is all it has"
        else:
            code, reason = "too_little_memory", numbers
        verdicts.append(
            Verdict(
                node=node.name,
                chosen=node is best,
                free_bytes=free,
                promised_bytes=max(0, free - available),
                needed_bytes=size,
                code=code,
                reason=reason,
            )
        )
    ordered = _in_order(verdicts, closed)
    if best is None:
        rooms = [(0, node.name, None, promises.available_bytes(node, None)) for node in opened]
        summary = explain(request.entry, request.spec, request.constraints, ordered, rooms, (0,))
        return Decision(need=need, **_kept(ordered), summary=summary)
    free_text = format_bytes(promises.available_bytes(best, None))
    summary = f"placed on {best.name}, on the CPU: {format_bytes(size)} of host memory needed, {free_text} free"
    return Decision(node=best.name, need=need, **_kept(ordered), summary=summary)


def _attach(request: FitRequest, opened: Sequence[Node], closed: Mapping[NodeName, Verdict]) -> Decision:
    """An engine that somebody else runs: nothing is given to it, one node watches it."""
    need = MemoryNeed(gpu_count=0, terms=())
    best = min(opened, key=lambda node: (request.spread.get(node.name, 0), node.name), default=None)
    if best is None:
        ordered = _in_order([], closed)
        summary = explain(request.entry, request.spec, request.constraints, ordered, [], (0,))
        return Decision(need=need, **_kept(ordered), summary=summary)
    verdicts = [
        Verdict(node=node.name, chosen=True, code="chosen", reason="chosen: it watches the engine, which runs already")
        if node is best
        else Verdict(node=node.name, code="not_chosen", reason=f"it would do, {best.name} was preferred")
        for node in opened
    ]
    summary = f"attached by {best.name}: the engine runs already"
    return Decision(node=best.name, need=need, **_kept(_in_order(verdicts, closed)), summary=summary)


def _in_order(verdicts: Iterable[Verdict], closed: Mapping[NodeName, Verdict]) -> tuple[Verdict, ...]:
    return tuple(sorted((*verdicts, *closed.values()), key=lambda verdict: verdict.node))  # stable: GPUs keep theirs


class _Verdicts(TypedDict):
    verdicts: tuple[Verdict, ...]
    omitted: Mapping[str, int]


def _kept(verdicts: Sequence[Verdict]) -> _Verdicts:
    chosen = {verdict.node for verdict in verdicts if verdict.chosen}
    most = MOST_VERDICTS if len(verdicts) <= MOST_VERDICTS or not chosen else MOST_BESIDE_A_PLACE
    first = sorted(range(len(verdicts)), key=lambda position: (verdicts[position].node not in chosen, position))
    kept, left = sorted(first[:most]), first[most:]
    return {
        "verdicts": tuple(verdicts[position] for position in kept),
        "omitted": dict(Counter(verdicts[position].code for position in left)),
    }


def looks_at(request: FitRequest, nodes: Iterable[Node], count: int, promises: Promises) -> list[Judged]:
    """Judge every GPU of `nodes` as one of the `count` that an instance would take."""
    needs = Needs(request)
    judged = []
    for node in nodes:
        for gpu in sorted(node.inventory.gpus, key=lambda gpu: (gpu.vendor, gpu.index, gpu.id)):
            look = Look(
                request=request,
                node=node,
                gpu=gpu,
                held=promises.on(node.name, gpu.id),
                takes=needs.of(gpu, count),
                available=promises.available_bytes(node, gpu),
            )
            judged.append((look, look.rule))
    return judged


def _gpu_words(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


# --- the sentence of a refusal

Room = tuple[int, NodeName, Gpu | None, int]
"""A size tried (GPUs per instance), and what is available for it on one GPU, or in host memory, of a node."""

_NODE_STATES = {
    "node_lost": "lost",
    "node_suspect": "suspect",
    "node_draining": "draining",
    "node_cordoned": "cordoned",
}
_NODE_CODES = {*_NODE_STATES, "node_problem", "other_node", "label_mismatch", "no_runtime"}
_MEMORY_CODES = {"too_little_memory", "larger_than_device", "too_few_gpus", "taken_whole", "not_empty"}
_FIX = {
    "node_draining": "; `modelgrid cluster activate` opens it again",
    "node_cordoned": "; `modelgrid cluster activate` opens it again",
    "no_runtime": "; `modelgrid doctor` tells why",
    "no_gpu": "; `modelgrid gpu drivers` tells why, and with 0 GPUs it runs on the CPU",
    "inventory_stale": "; `modelgrid gpu drivers` tells why",
    "gpu_missing": "; `modelgrid gpu list` shows those there are",
}


def explain(
    entry: CatalogEntry | None,
    spec: EngineSpec,
    constraints: Constraints,
    verdicts: Sequence[Verdict],
    rooms: Sequence[Room],
    counts: Sequence[int],
) -> str:
    """Return why there is no place, from the verdicts. `counts` are the sizes that were tried, smallest first."""
    inside = [verdict for verdict in verdicts if verdict.code not in _NODE_CODES]
    if not inside:
        return _no_node(constraints, verdicts)
    missing = [verdict for verdict in inside if verdict.code == "gpu_missing"]
    if missing and {verdict.node for verdict in missing} == {verdict.node for verdict in inside}:
        return _and_others(missing) + _FIX["gpu_missing"]
    memory = [verdict for verdict in inside if verdict.code in _MEMORY_CODES]
    if memory:
        return _no_memory(entry, spec, memory, rooms, counts)
    relevant = [verdict for verdict in inside if verdict.code != "not_pinned"] or inside
    codes = {verdict.code for verdict in relevant}
    named = [_named(verdict) for verdict in relevant]
    return _some(named) + (_FIX.get(codes.pop(), "") if len(codes) == 1 else "")


def _no_node(constraints: Constraints, verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return "there is no node to place it on"
    asked = [verdict for verdict in verdicts if verdict.code != "other_node"]
    if not asked:
        return f"node {constraints.node} was asked for and is not in the cluster"
    codes = {verdict.code for verdict in asked}
    fix = _FIX.get(next(iter(codes)), "") if len(codes) == 1 else ""
    if len(asked) > 1 and len(codes) == 1 and (state := _NODE_STATES.get(asked[0].code)):
        return f"all nodes are {state}{fix}"
    return _some([verdict.reason for verdict in asked]) + fix


def _no_memory(
    entry: CatalogEntry | None,
    spec: EngineSpec,
    memory: Sequence[Verdict],
    rooms: Sequence[Room],
    counts: Sequence[int],
) -> str:
    needed = min(verdict.needed_bytes or 0 for verdict in memory)
    on_host = counts[0] == 0
    what = "node" if on_host else "GPU"
    kind = " of host memory" if on_host else ""
    if entry is None and not on_host:
        return "no GPU is empty; the model is not in the catalog, so its need is not known and it takes a whole one"
    if all(verdict.code == "larger_than_device" for verdict in memory):
        text = f"{format_bytes(needed)}{kind} needed, more than any {what} that may be used has"
    elif counts[0] > 1:
        text = f"no node has {counts[0]} like GPUs with {format_bytes(needed)} free on each"
    else:
        text = f"no {what} that may be used has {format_bytes(needed)}{kind} free"
    if len(counts) > 1:
        text += f"; tried {', '.join(str(count) for count in counts[:-1])} and {counts[-1]} GPUs"
    advice = _advice(entry, spec, rooms) if entry is not None else ""
    return f"{text}; {advice}" if advice else text


def _advice(entry: CatalogEntry, spec: EngineSpec, rooms: Sequence[Room]) -> str:
    best: tuple[int, int, NodeName] | None = None
    groups: dict[tuple[int, NodeName, object], list[tuple[int, Gpu | None]]] = {}
    for count, node, gpu, available in rooms:
        alike = (gpu.vendor, gpu.name, gpu.vram_total_bytes) if gpu else None
        groups.setdefault((count, node, alike), []).append((available, gpu))
    for (count, node, _), group in sorted(groups.items(), key=lambda item: item[0][:2]):
        ranks = max(1, count)
        if len(group) < ranks:
            continue
        available, gpu = sorted(group, key=lambda item: -item[0])[ranks - 1]
        context = largest_context(entry, spec, count, gpu, available)
        if context is not None and (best is None or context > best[0]):
            best = (context, count, node)
    if best is not None:
        context, count, node = best
        gpus = f" and {count} GPUs" if count > 1 else ""
        return f"it would fit on {node} with a context of {context} tokens{gpus}"
    largest = max(
        (gpu for _, _, gpu, _ in rooms if gpu), key=lambda gpu: (gpu.vram_total_bytes, gpu.name), default=None
    )
    if largest is None:
        return "free host memory, or choose a smaller model"
    enough = enough_gpus(entry, spec, largest)
    if enough is None:
        return f"no number of GPUs like {largest.name} would do: choose a smaller context or model"
    many = "an empty GPU" if enough == 1 else f"{enough} empty GPUs"
    return f"{many} like {largest.name} would do"


def _named(verdict: Verdict) -> str:
    return f"{verdict.node} {verdict.gpu}: {verdict.reason}" if verdict.gpu else verdict.reason


def _and_others(verdicts: Sequence[Verdict]) -> str:
    return _some([f"GPU {verdict.gpu} is pinned and not on {verdict.node}" for verdict in verdicts])


def _some(texts: Iterable[str]) -> str:
    """Return the first three of `texts`, and how many more there are."""
    texts = list(texts)
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return "; ".join(texts[:3]) + more
