"""The one sentence of a decision that found no place: what is missing, and what would mend it. Pure.

A refusal is stored and shown until it changes, so the sentence holds nothing that flickers: sizes that follow from
the request and the devices, never present readings. Those stand in the verdicts.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from modelgrid.decide.capacity import Entry, Shelf, View
from modelgrid.decide.fit_rules import FITS, FitRequest, Needs
from modelgrid.decide.need import enough_gpus, is_exclusive, largest_context, memory_need, with_context
from modelgrid.decide.verdicts import (
    MOST_VERDICTS,
    absent,
    codes,
    count_absent,
    first_judged,
    in_order,
    kept,
    speaks_against,
)
from modelgrid.domain.gpu import Gpu
from modelgrid.domain.ids import NodeName
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.placement import Decision, MemoryNeed, Verdict
from modelgrid.domain.target import Constraints
from modelgrid.domain.units import format_bytes

Room = tuple[Gpu, Sequence[Sequence[Entry]]]
"""A kind of GPU that would do if it had room, and what is left on those there are: sorted lists, the least first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """What a decision without a place knows."""

    inside: Sequence[Verdict]
    """Of the nodes that may be used, in order: the first; all of them where GPUs are pinned."""
    codes: Mapping[str, int]
    """All verdicts inside, by code."""
    closed: Sequence[Verdict]
    """Of the nodes that may not be used."""
    least_needed: int
    """Bytes on each GPU of the kind that takes the least of those that memory speaks against."""
    rooms: Sequence[Room]
    hosts: Sequence[tuple[int, NodeName]]
    """Host memory left, the most first, as in `View`."""


_NODE_STATES = {
    "node_lost": "lost",
    "node_suspect": "suspect",
    "node_draining": "draining",
    "node_cordoned": "cordoned",
}
_MEMORY_CODES = {"too_little_memory", "larger_than_device", "too_few_gpus", "taken_whole", "not_empty"}
_FIX = {
    "node_draining": "; `modelgrid cluster activate` opens it again",
    "node_cordoned": "; `modelgrid cluster activate` opens it again",
    "no_runtime": "; `modelgrid doctor` tells why",
    "no_gpu": "; `modelgrid gpu drivers` tells why, and with 0 GPUs it runs on the CPU",
    "inventory_stale": "; `modelgrid gpu drivers` tells why",
    "gpu_missing": "; `modelgrid gpu list` shows those there are",
}


def refused(request: FitRequest, view: View, needs: Needs, counts: Sequence[int]) -> Decision:
    """Return the decision for a request that has no place. `counts` are the sizes that were tried, smallest first."""
    count = counts[0]
    counted = codes(view, request, needs, count)
    counted["too_few_gpus"] += counted.pop(FITS, 0)
    counted += count_absent(view, request)
    most = counted.total() if request.spec.gpus else MOST_VERDICTS
    verdicts = [*islice(absent(view, request), most)]
    for look, rule in first_judged(view, request, needs, count, own=None, most=most):
        code, reason = rule.code, rule.reason(look)
        if code == FITS:
            code = "too_few_gpus"
            reason = f"{reason}: it has room, but {count} like GPUs with room are needed on one node"
        elif code in ("too_little_memory", "larger_than_device"):
            larger = ((other, needs.of(look.gpu, other).bytes) for other in counts[1:])
            reason += "".join(f"; {format_bytes(needed)} on each of {other}" for other, needed in larger)
        verdicts.append(look.verdict(code, reason))
    inside = in_order(verdicts)
    shelves = [shelf for shelf in view.shelves.values() if shelf and not speaks_against(shelf, request)]
    if request.spec.gpus:
        sizes = [verdict.needed_bytes or 0 for verdict in inside if verdict.code in _MEMORY_CODES]
    else:
        sizes = [needs.of(shelf.device, count).bytes for shelf in shelves]
    lack = Lack(
        inside=inside,
        codes=counted,
        closed=view.closed_verdicts(),
        least_needed=min(sizes, default=0),
        rooms=_rooms(request, shelves, needs, count),
        hosts=(),
    )
    words = kept(inside[:MOST_VERDICTS], counted, view, None)
    return Decision(need=_least_need(request, view, needs, count), **words, summary=explain(request, lack, counts))


def _rooms(request: FitRequest, shelves: Iterable[Shelf], needs: Needs, count: int) -> list[Room]:
    pinned = request.spec.gpus
    rooms: dict[tuple[object, ...], tuple[Gpu, list[Sequence[Entry]]]] = {}
    for shelf in shelves:
        gpu = shelf.device
        shared = () if is_exclusive(needs.of(gpu, count).need) else shelf.shared
        for entries in (shelf.empty, shared):
            if some := [entry for entry in entries if entry[4] in pinned] if pinned else entries:
                rooms.setdefault((gpu.vendor, gpu.name, gpu.vram_total_bytes), (gpu, []))[1].append(some)
    return [*rooms.values()]


def _least_need(request: FitRequest, view: View, needs: Needs, count: int) -> MemoryNeed:
    """Return the need on the kind of GPU that takes the least, whatever else speaks against it."""
    kinds = [needs.of(shelf.device, count).need for shelf in view.shelves.values() if shelf]
    least = min((need.per_gpu_bytes for need in kinds), default=None)
    if least is None:
        return memory_need(request.entry, request.spec, count) or MemoryNeed(gpu_count=count, terms=())
    return next(
        need
        for name in view.names
        for room in view.sites[name].rooms
        if (need := needs.of(room.gpu, count).need).per_gpu_bytes == least
    )


def explain(request: FitRequest, lack: Lack, counts: Sequence[int]) -> str:
    """Return why there is no place. `counts` are the sizes that were tried, smallest first."""
    if not any(lack.codes.values()):
        return _no_node(request.constraints, lack.closed)
    missing = [verdict for verdict in lack.inside if verdict.code == "gpu_missing"]
    if missing and {verdict.node for verdict in missing} == {verdict.node for verdict in lack.inside}:
        return _and_others(missing) + _FIX["gpu_missing"]
    if any(lack.codes.get(code) for code in _MEMORY_CODES):
        return _no_memory(request, lack, counts)
    relevant = {code: number for code, number in lack.codes.items() if number and code != "not_pinned"}
    relevant = relevant or {"not_pinned": lack.codes["not_pinned"]}
    named = [_named(verdict) for verdict in lack.inside if verdict.code in relevant]
    fix = _FIX.get(next(iter(relevant)), "") if len(relevant) == 1 else ""
    return _some(named, sum(relevant.values())) + fix


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
    return _some([verdict.reason for verdict in asked], len(asked)) + fix


def _no_memory(request: FitRequest, lack: Lack, counts: Sequence[int]) -> str:
    needed, entry = lack.least_needed, request.entry
    on_host = counts[0] == 0
    what = "node" if on_host else "GPU"
    kind = " of host memory" if on_host else ""
    if entry is None and not on_host:
        return "no GPU is empty; the model is not in the catalog, so its need is not known and it takes a whole one"
    if not any(lack.codes.get(code) for code in _MEMORY_CODES - {"larger_than_device"}):
        text = f"{format_bytes(needed)}{kind} needed, more than any {what} that may be used has"
    elif counts[0] > 1:
        text = f"no node has {counts[0]} like GPUs with {format_bytes(needed)} free on each"
    else:
        text = f"no {what} that may be used has {format_bytes(needed)}{kind} free"
    if len(counts) > 1:
        text += f"; tried {', '.join(str(count) for count in counts[:-1])} and {counts[-1]} GPUs"
    advice = _advice(entry, request, lack, counts) if entry is not None else ""
    return f"{text}; {advice}" if advice else text


def _advice(entry: CatalogEntry, request: FitRequest, lack: Lack, counts: Sequence[int]) -> str:
    best: tuple[int, int, NodeName] | None = None
    for count in counts:
        found = _largest_on_host(entry, request, lack) if count == 0 else _largest_on(entry, request, lack, count)
        if found is not None and (best is None or found[0] > best[0]):
            best = (found[0], count, found[1])
    if best is not None:
        context, count, node = best
        gpus = f" and {count} GPUs" if count > 1 else ""
        return f"it would fit on {node} with a context of {context} tokens{gpus}"
    largest = max((gpu for gpu, _ in lack.rooms), key=lambda gpu: (gpu.vram_total_bytes, gpu.name), default=None)
    if largest is None:
        return "free host memory, or choose a smaller model"
    enough = enough_gpus(entry, request.spec, largest)
    if enough is None:
        return f"no number of GPUs like {largest.name} would do: choose a smaller context or model"
    many = "an empty GPU" if enough == 1 else f"{enough} empty GPUs"
    return f"{many} like {largest.name} would do"


def _largest_on_host(entry: CatalogEntry, request: FitRequest, lack: Lack) -> tuple[int, NodeName] | None:
    """Return the largest context for which a node has the memory, and the first such node by name."""
    if not lack.hosts:
        return None
    context = largest_context(entry, request.spec, 0, None, -lack.hosts[0][0])
    if context is None:
        return None
    needed = with_context(entry, request.spec, 0, None, context)
    return context, min(name for negative, name in lack.hosts if -negative >= needed)


def _largest_on(entry: CatalogEntry, request: FitRequest, lack: Lack, count: int) -> tuple[int, NodeName] | None:
    """Return the largest context for which a node has `count` GPUs of one kind, and the first such node by name."""
    found: dict[int, NodeName] = {}
    for gpu, lists in lack.rooms:
        most = max(entries[-1][0] for entries in lists)
        context = largest_context(entry, request.spec, count, gpu, most)
        while context is not None:
            needed = with_context(entry, request.spec, count, gpu, context)
            tails = (islice(entries, bisect_left(entries, (needed,)), None) for entries in lists)
            numbers = Counter(room[1] for tail in tails for room in tail)
            first = min((name for name, number in numbers.items() if number >= count), default=None)
            if first is not None:
                found[context] = min(first, found.get(context, first))
                break
            context = largest_context(entry, request.spec, count, gpu, needed - 1)
    return max(found.items(), default=None)


def _named(verdict: Verdict) -> str:
    return f"{verdict.node} {verdict.gpu}: {verdict.reason}" if verdict.gpu else verdict.reason


def _and_others(verdicts: Sequence[Verdict]) -> str:
    return _some([f"GPU {verdict.gpu} is pinned and not on {verdict.node}" for verdict in verdicts], len(verdicts))


def _some(texts: Sequence[str], number: int) -> str:
    """Return the first three of `number` texts, and how many more there are."""
    more = f" and {number - 3} more" if number > 3 else ""
    return "; ".join(texts[:3]) + more
