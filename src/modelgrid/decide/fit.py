"""Where an instance lands: `fit(request, nodes, promises)` → one decision that says why. Pure.

The numbered steps are those of `design.md` beside this file; steps 1 and 2 are the tables of `fit_rules`. No step looks
at all GPUs of the cluster: the best place is found in the order of `capacity`, and what is said of the others
(`verdicts`) is counted there.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice

from modelgrid.decide.capacity import Capacity, Entry, Site, View
from modelgrid.decide.fit_on_host import attach, fit_on_cpu
from modelgrid.decide.fit_rules import FITS, FitRequest, GpuRule, Judged, Look, Needs, listed
from modelgrid.decide.need import gpu_counts
from modelgrid.decide.promises import Promises
from modelgrid.decide.refusal import refused
from modelgrid.decide.verdicts import absent, bound, codes, count_absent, first_judged, fitting, judged, kept, look_at
from modelgrid.domain.gpu import GpuVendor
from modelgrid.domain.ids import GpuId, NodeName
from modelgrid.domain.node import Node
from modelgrid.domain.placement import Decision, Verdict
from modelgrid.domain.target import RuntimeKind
from modelgrid.domain.units import format_bytes

__all__ = ["FitRequest", "fit", "fit_into"]

Offer = tuple[Look, ...]
"""Like GPUs of one node that together are a place."""
Key = tuple[object, ...]
"""Less is better."""
Found = tuple[int, NodeName, GpuVendor, int, GpuId]
"""A GPU with room, by what it has left over."""


def fit(request: FitRequest, nodes: Iterable[Node], promises: Promises) -> Decision:
    """Decide where one instance goes. The order of `nodes` does not matter.

    A decision is either placed (`node` and, unless it runs on the CPU or elsewhere, `gpus` are set) or its summary
    and verdicts explain what is missing: one verdict for each GPU of each node that may be used, one for each node
    that may not. Of many, the first are kept and the others counted by their code."""
    return fit_into(request, Capacity(nodes, promises), Needs(request))


def fit_into(request: FitRequest, capacity: Capacity, needs: Needs) -> Decision:
    """Decide as `fit` does. `needs` are the request's own: whoever places several of its like keeps them."""
    view = capacity.view(request)
    if request.runtime is RuntimeKind.EXTERNAL:
        return attach(request, view)
    counts = gpu_counts(request.entry, request.spec, view.most_gpus)
    if counts == (0,):
        return fit_on_cpu(request, view)
    best = _packed if request.constraints.pack else _spread
    for count in counts:
        offer = best(request, view, needs, count)
        if offer is not None:
            return _placed(request, offer, view, needs, counts)
    return refused(request, view, needs, counts)


# --- 3. the best place


def _spread(request: FitRequest, view: View, needs: Needs, count: int) -> Offer | None:
    """Return the best place for a request that is to be spread.

    The order is that of `_spread_key`. A node without GPUs kept for the request and without its like is best by what
    is left over and its name, which is the order of the shelves; the others are few and are looked at one by one."""
    liked = _with_kept_gpus(request, view)
    busy = {name for name, number in request.spread.items() if number}
    busy |= {name for (name, _), number in request.spread_gpus.items() if number}
    alone = {name for name in busy if not request.spread.get(name)}
    best = _best(request, view, needs, count, (liked | alone) & view.sites.keys())
    free = _least_left_over(request, view, needs, count, liked | busy)
    if free is not None:
        best = min(filter(None, (best, free)), key=_spread_key)
    if best is not None and (best[0].assigned or not request.spread.get(best[0].node.name)):
        return best
    by_number: dict[int, set[NodeName]] = {}
    for name in (busy - liked - alone) & view.sites.keys():
        by_number.setdefault(request.spread[name], set()).add(name)
    for _, names in sorted(by_number.items()):
        offer = _best(request, view, needs, count, names)
        if offer is not None:
            return min(filter(None, (best, offer)), key=_spread_key)
    return best


def _least_left_over(
    request: FitRequest, view: View, needs: Needs, count: int, skip: Collection[NodeName]
) -> Offer | None:
    """Return the place that leaves the least over, outside the nodes to `skip`."""
    best: Offer | None = None
    best_key: tuple[int, NodeName] | None = None
    seen: set[NodeName] = set()
    pinned = request.spec.gpus
    for leftover, name, _, _, gpu in _with_room(request, view, needs, count):
        # All places not seen yet leave this much over on each GPU, and their names are not smaller.
        if best_key is not None and best_key < (count * leftover, name):
            break
        if name in skip or name in seen or (pinned and gpu not in pinned):
            continue
        seen.add(name)
        site = view.sites[name]
        if count == 1:
            return (next(look_at(site, room, request, needs, 1) for room in site.rooms if room.gpu.id == gpu),)
        if not _may_do(site, needs, count):
            continue
        offer = min(_offers(request, judged(site, request, needs, count), count), key=_spread_key, default=None)
        if offer is not None:
            key = (sum(look.leftover for look in offer), name)
            if best_key is None or key < best_key:
                best, best_key = offer, key
    return best


def _with_room(request: FitRequest, view: View, needs: Needs, count: int) -> Iterator[Found]:
    """Yield GPUs that have room and are kept for nobody: what leaves the least over first, then by name."""

    def left_over(entries: list[Entry], first: int, needed: int) -> Iterator[Found]:
        return ((entry[0] - needed, *entry[1:]) for entry in islice(entries, first, None))

    return merge(
        *(
            left_over(entries, first, needs.of(shelf.device, count).bytes)
            for shelf in view.shelves.values()
            if shelf.kept_for is None
            for entries, first in fitting(shelf, request, needs, count)
            if first < len(entries)
        )
    )


def _may_do(site: Site, needs: Needs, count: int) -> bool:
    """Whether a node has as many GPUs with room, like or not: a quick look before the long one."""
    return sum(room.available >= needs.of(room.gpu, count).bytes for room in site.rooms) >= count


def _with_kept_gpus(request: FitRequest, view: View) -> set[NodeName]:
    """Return the nodes with GPUs that are kept for the request."""
    names = request.names
    shelves = [shelf for shelf in view.shelves.values() if shelf.kept_for is not None and shelf.kept_for in names]
    return {entry[1] for shelf in shelves for entries in (shelf.empty, shelf.shared) for entry in entries}


def _best(request: FitRequest, view: View, needs: Needs, count: int, names: Iterable[NodeName]) -> Offer | None:
    offers = (
        offer for name in names for offer in _offers(request, judged(view.sites[name], request, needs, count), count)
    )
    return min(offers, key=_spread_key, default=None)


def _packed(request: FitRequest, view: View, needs: Needs, count: int) -> Offer | None:
    """Return the best place for a request that is to be packed: the order is that of `key`."""

    def key(offer: Offer) -> Key:
        node = offer[0].node.name
        return sum(not look.assigned for look in offer), view.sites[node].available, *_filled(offer)

    def offers(name: NodeName) -> list[Offer]:
        return _offers(request, judged(view.sites[name], request, needs, count), count)

    liked = _with_kept_gpus(request, view)
    best = min((offer for name in liked for offer in offers(name)), key=key, default=None)
    if best is not None and best[0].assigned:
        return best
    least = min((needs.of(shelf.device, count).bytes for shelf in view.shelves.values()), default=0)
    for room, name in islice(view.by_room, bisect_left(view.by_room, (count * least,)), None):
        site = view.sites[name]
        if best is not None:
            chosen = view.sites[best[0].node.name]
            if room > chosen.available:
                break
            if room == chosen.available and chosen.node.name < name and site.is_like(chosen):
                continue
        if name not in liked and _may_do(site, needs, count):
            best = min(filter(None, (best, *offers(name))), key=key, default=None)
    return best


def _offers(request: FitRequest, looks: Iterable[Judged], count: int) -> list[Offer]:
    """Return the best `count` like GPUs of each kind on each node, where there are as many with room."""
    groups: dict[Key, list[Look]] = {}
    for look, rule in looks:
        if rule.code == FITS:
            groups.setdefault(look.alike, []).append(look)
    return [
        tuple(sorted(group, key=lambda look: _among_alike(request, look))[:count])
        for group in groups.values()
        if len(group) >= count
    ]


def _among_alike(request: FitRequest, look: Look) -> Key:
    others = 0 if request.constraints.pack else request.spread_gpus.get((look.node.name, look.gpu.id), 0)
    return not look.assigned, others, look.leftover, look.gpu.index, look.gpu.id


def _spread_key(offer: Offer) -> Key:
    """GPUs kept for it, then nodes and GPUs without its like, then those that it fills best."""
    request, node = offer[0].request, offer[0].node.name
    return (
        sum(not look.assigned for look in offer),
        request.spread.get(node, 0),
        sum(request.spread_gpus.get((node, look.gpu.id), 0) for look in offer),
        *_filled(offer),
    )


def _filled(offer: Offer) -> Key:
    leftover = sum(look.leftover for look in offer)
    return leftover, offer[0].node.name, [(look.gpu.vendor, look.gpu.index, look.gpu.id) for look in offer]


def _placed(request: FitRequest, offer: Offer, view: View, needs: Needs, counts: Sequence[int]) -> Decision:
    node, count = offer[0].node, len(offer)
    gpus = tuple(look.gpu.id for look in sorted(offer, key=lambda look: look.gpu.index))
    better = f"{node.name} {listed(gpus)}"

    def verdict(look: Look, rule: GpuRule) -> Verdict:
        if look.node is node and look.gpu.id in gpus:
            return look.verdict("chosen", f"chosen: {look.numbers}", chosen=True)
        if rule.code == FITS:
            return look.verdict("not_chosen", f"{look.numbers}: it would do, {better} was preferred")
        return look.verdict(rule.code, rule.reason(look))

    counted = codes(view, request, needs, count) + count_absent(view, request)
    counted += Counter(chosen=count, not_chosen=counted.pop(FITS) - count)
    most = bound(counted.total() + len(view.closed), node.name)
    words = [verdict(*item) for item in first_judged(view, request, needs, count, own=node.name, most=most)]
    each = " on each" if count > 1 else ""
    free = format_bytes(min(look.available for look in offer))
    summary = f"placed on {node.name} {listed(gpus)}: {format_bytes(offer[0].needed)} needed{each}, {free} free"
    if count > counts[0]:
        summary += f" ({_gpu_words(counts[0])} would not do)"
    return Decision(
        node=node.name,
        gpus=gpus,
        need=offer[0].need,
        **kept([*words, *islice(absent(view, request), most)], counted, view, node.name),
        summary=summary,
    )


def _gpu_words(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"
