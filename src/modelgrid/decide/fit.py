"""Where an instance lands: `fit(request, nodes, promises)` → one decision with a verdict for every GPU. Pure.

The numbered steps are those of `design.md` beside this file; steps 1 and 2 are the tables of `fit_rules`.
"""

from collections.abc import Iterable, Mapping, Sequence

from modelgrid.decide.fit_rules import FITS, FitRequest, Look, closed_node, listed, looks_at
from modelgrid.decide.need import device_need, gpu_counts, is_exclusive, memory_need
from modelgrid.decide.promises import Promises
from modelgrid.decide.refusal import explain
from modelgrid.domain.ids import NodeName
from modelgrid.domain.node import Node
from modelgrid.domain.placement import Decision, MemoryNeed, Verdict
from modelgrid.domain.target import RuntimeKind
from modelgrid.domain.units import format_bytes

__all__ = ["FitRequest", "fit"]


def fit(request: FitRequest, nodes: Sequence[Node], promises: Promises) -> Decision:
    """Decide where one instance goes. The order of `nodes` does not matter.

    A decision is either placed (`node` and, unless it runs on the CPU or elsewhere, `gpus` are set) or its summary
    and verdicts explain what is missing: one verdict for each GPU of each node that may be used, one for each node
    that may not."""
    nodes = sorted(nodes, key=lambda node: node.name)
    closed = {node.name: verdict for node in nodes if (verdict := closed_node(request, node)) is not None}
    opened = [node for node in nodes if node.name not in closed]
    if request.runtime is RuntimeKind.EXTERNAL:
        return _attach(request, opened, closed)
    counts = gpu_counts(request.entry, request.spec, max((len(node.inventory.gpus) for node in opened), default=0))
    if counts == (0,):
        return _on_cpu(request, opened, closed, promises)
    for count in counts:
        looks = [look for node in opened for look in looks_at(request, node, count, promises)]
        offers = _offers(request, looks, count)
        if offers:
            best = min(offers, key=lambda offer: _preference(request, offer))
            return _placed(request, best, looks, closed, opened, counts)
    return _refused(request, opened, closed, promises, counts)


# --- 3. the best place


def _offers(request: FitRequest, looks: Iterable[Look], count: int) -> list[tuple[Look, ...]]:
    """Return the best `count` like GPUs of each kind on each node, where there are as many with room."""
    groups: dict[tuple[object, ...], list[Look]] = {}
    for look in looks:
        if look.code == FITS:
            groups.setdefault(look.alike, []).append(look)
    return [
        tuple(sorted(group, key=lambda look: _preference(request, (look,)))[:count])
        for group in groups.values()
        if len(group) >= count
    ]


def _preference(request: FitRequest, offer: tuple[Look, ...]) -> tuple[object, ...]:
    """Less is better: GPUs kept for it, then nodes and GPUs without its like, then those that it fills best."""
    node = offer[0].node.name
    return (
        sum(not look.assigned for look in offer),
        request.spread.get(node, 0),
        sum(request.spread_gpus.get((node, look.gpu.id), 0) for look in offer),
        sum(look.leftover for look in offer),
        node,
        [(look.gpu.vendor, look.gpu.index, look.gpu.id) for look in offer],
    )


def _placed(
    request: FitRequest,
    offer: tuple[Look, ...],
    looks: Sequence[Look],
    closed: Mapping[NodeName, Verdict],
    opened: Sequence[Node],
    counts: Sequence[int],
) -> Decision:
    node = offer[0].node
    gpus = tuple(look.gpu.id for look in sorted(offer, key=lambda look: look.gpu.index))
    verdicts = []
    for look in looks:
        if look.node is node and look.gpu.id in gpus:
            verdicts.append(look.verdict("chosen", f"chosen: {look.numbers}", chosen=True))
        elif look.code == FITS:
            better = f"{node.name} {listed(gpus)}"
            verdicts.append(look.verdict("not_chosen", f"{look.numbers}: it would do, {better} was preferred"))
        else:
            verdicts.append(look.verdict(look.code, look.reason))
    each = " on each" if len(offer) > 1 else ""
    free = format_bytes(min(look.available for look in offer))
    summary = f"placed on {node.name} {listed(gpus)}: {format_bytes(offer[0].needed)} needed{each}, {free} free"
    if len(gpus) > counts[0]:
        summary += f" ({_gpu_words(counts[0])} would not do)"
    return Decision(
        node=node.name,
        gpus=gpus,
        need=offer[0].need,
        verdicts=_in_order([*verdicts, *_absent(request, opened)], closed),
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
    by_count = {
        count: [look for node in opened for look in looks_at(request, node, count, promises)] for count in counts
    }
    first = by_count[counts[0]]
    verdicts = [*_absent(request, opened)]
    for position, look in enumerate(first):
        code, reason = look.code, look.reason
        if code == FITS:
            code = "too_few_gpus"
            reason = f"{reason}: it has room, but {counts[0]} like GPUs with room are needed on one node"
        elif code in ("too_little_memory", "larger_than_device"):
            larger = ((count, by_count[count][position].needed) for count in counts[1:])
            reason += "".join(f"; {format_bytes(needed)} on each of {count}" for count, needed in larger)
        verdicts.append(look.verdict(code, reason))
    need = min((look.need for look in first), key=lambda need: need.per_gpu_bytes, default=None)
    if need is None:
        need = memory_need(request.entry, request.spec, counts[0]) or MemoryNeed(gpu_count=counts[0], terms=())
    ordered = _in_order(verdicts, closed)
    rooms = [
        (count, look.node.name, look.gpu, look.available if not look.held or not is_exclusive(look.need) else 0)
        for count, looks in by_count.items()
        for look in looks
        if look.code in ("too_little_memory", "larger_than_device", FITS)
    ]
    summary = explain(request.entry, request.spec, request.constraints, ordered, rooms, counts)
    return Decision(need=need, verdicts=ordered, summary=summary)


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
    best = min(
        fitting,
        key=lambda node: (request.spread.get(node.name, 0), -promises.available_bytes(node, None), node.name),
        default=None,
    )
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
        return Decision(need=need, verdicts=ordered, summary=summary)
    free_text = format_bytes(promises.available_bytes(best, None))
    summary = f"placed on {best.name}, on the CPU: {format_bytes(size)} of host memory needed, {free_text} free"
    return Decision(node=best.name, need=need, verdicts=ordered, summary=summary)


def _attach(request: FitRequest, opened: Sequence[Node], closed: Mapping[NodeName, Verdict]) -> Decision:
    """An engine that somebody else runs: nothing is given to it, one node watches it."""
    need = MemoryNeed(gpu_count=0, terms=())
    best = min(opened, key=lambda node: (request.spread.get(node.name, 0), node.name), default=None)
    if best is None:
        ordered = _in_order([], closed)
        summary = explain(request.entry, request.spec, request.constraints, ordered, [], (0,))
        return Decision(need=need, verdicts=ordered, summary=summary)
    verdicts = [
        Verdict(node=node.name, chosen=True, code="chosen", reason="chosen: it watches the engine, which runs already")
        if node is best
        else Verdict(node=node.name, code="not_chosen", reason=f"it would do, {best.name} was preferred")
        for node in opened
    ]
    summary = f"attached by {best.name}: the engine runs already"
    return Decision(node=best.name, need=need, verdicts=_in_order(verdicts, closed), summary=summary)


def _in_order(verdicts: Iterable[Verdict], closed: Mapping[NodeName, Verdict]) -> tuple[Verdict, ...]:
    return tuple(sorted((*verdicts, *closed.values()), key=lambda verdict: verdict.node))  # stable: GPUs keep theirs


def _gpu_words(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"
