"""What a decision says of GPUs and nodes that it did not choose: of the first in words, of the rest by number. Pure.

A cluster has thousands of GPUs and a decision is stored with each deployment. So sentences are made only of those that
are kept, and the counts come from the index.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypedDict

from modelgrid.decide.capacity import Entry, Room, Shelf, Site, View
from modelgrid.decide.fit_rules import FITS, FitRequest, Judged, Look, Needs
from modelgrid.decide.need import is_exclusive
from modelgrid.domain.ids import NodeName
from modelgrid.domain.placement import Verdict

MOST_VERDICTS = 64
"""In all, where there are no more; and of a refusal."""
MOST_BESIDE_A_PLACE = 16
"""Where there are more, what is kept with a placement: its own node's GPUs, and what comes first beside them."""


class Kept(TypedDict):
    verdicts: tuple[Verdict, ...]
    omitted: dict[str, int]


def look_at(site: Site, room: Room, request: FitRequest, needs: Needs, count: int) -> Look:
    """Look at a GPU as one of the `count` that an instance would take."""
    return Look(
        request=request,
        node=site.node,
        gpu=room.gpu,
        held=room.held,
        takes=needs.of(room.gpu, count),
        available=room.available,
    )


def judged(site: Site, request: FitRequest, needs: Needs, count: int) -> list[Judged]:
    """Judge every GPU of a node as one of the `count` that an instance would take."""
    looks = [look_at(site, room, request, needs, count) for room in site.rooms]
    return [(look, look.rule) for look in looks]


def fitting(shelf: Shelf, request: FitRequest, needs: Needs, count: int) -> Iterator[tuple[list[Entry], int]]:
    """Yield the entries of a shelf that nothing speaks against but, perhaps, their size; and from which one on not even
    that does."""
    if speaks_against(shelf, request):
        return
    takes = needs.of(shelf.device, count)
    for entries in (shelf.empty,) if is_exclusive(takes.need) else (shelf.empty, shelf.shared):
        yield entries, len(entries) if takes.too_large else bisect_left(entries, (takes.bytes,))


def speaks_against(shelf: Shelf, request: FitRequest) -> str:
    """Return the code of the rule that speaks against all GPUs of a shelf; empty: none does. Says of a shelf what the
    first rules of `fit_rules` say of each GPU, but for the one about pinned GPUs."""
    if request.constraints.vendor not in (None, shelf.device.vendor):
        return "other_vendor"
    if shelf.kept_for is not None and shelf.kept_for not in request.names:
        return "kept_for_another"
    return shelf.code


def codes(view: View, request: FitRequest, needs: Needs, count: int) -> Counter[str]:
    """Count all GPUs of nodes that may be used by the code of the rule that judges them."""
    if request.spec.gpus:  # no shelf has only those
        sites = view.sites.values()
        return Counter(rule.code for site in sites for _, rule in judged(site, request, needs, count))
    counted: Counter[str] = Counter()
    for shelf in view.shelves.values():
        if code := speaks_against(shelf, request):
            counted[code] += len(shelf)
            continue
        counted["taken_whole"] += len(shelf.whole)
        takes = needs.of(shelf.device, count)
        if is_exclusive(takes.need):
            counted["not_empty"] += len(shelf.shared)
        for entries, first in fitting(shelf, request, needs, count):
            if takes.too_large:
                counted["larger_than_device"] += len(entries)
            else:
                counted["too_little_memory"] += first
                counted[FITS] += len(entries) - first
    return counted


def absent(view: View, request: FitRequest) -> Iterator[Verdict]:
    """Yield verdicts for what is not there, pinned GPUs and any GPU at all, in the order of nodes."""
    for name in view.names if request.spec.gpus else view.bare:
        site = view.sites[name]
        present = {room.gpu.id for room in site.rooms}
        for gpu in sorted(set(request.spec.gpus) - present):
            reason = f"{gpu} is pinned and not on {name}"
            yield Verdict(node=name, gpu=gpu, code="gpu_missing", reason=reason)
        if not present:
            inventory = site.node.inventory
            code = "inventory_stale" if inventory.stale else "no_gpu"
            reason = f"no GPU was found on {name}" + (f": {inventory.problem}" if inventory.problem else "")
            yield Verdict(node=name, code=code, reason=reason)


def count_absent(view: View, request: FitRequest) -> Counter[str]:
    """Count them by code."""
    if request.spec.gpus:
        return Counter(verdict.code for verdict in absent(view, request))
    return Counter("inventory_stale" if view.sites[name].node.inventory.stale else "no_gpu" for name in view.bare)


def kept(verdicts: Iterable[Verdict], counted: Counter[str], view: View, own: NodeName | None) -> Kept:
    """Return what a decision keeps: verdicts of `own`, its node, first, then in the order of names.

    `verdicts` are the first of those in nodes that may be used, as many as may be kept, `counted` has all of them by
    code."""
    every = counted + view.closed_by_code
    most = bound(every.total(), own)
    ordered = in_order([*verdicts, *view.closed_verdicts(most)])
    first = sorted(range(len(ordered)), key=lambda position: (ordered[position].node != own, position))[:most]
    chosen = tuple(ordered[position] for position in sorted(first))
    every.subtract(verdict.code for verdict in chosen)
    return {"verdicts": chosen, "omitted": {code: number for code, number in every.items() if number}}


def bound(number: int, own: NodeName | None) -> int:
    """Return how many of `number` verdicts are kept; a placement has a node of its `own`."""
    return MOST_VERDICTS if own is None or number <= MOST_VERDICTS else MOST_BESIDE_A_PLACE


def in_order(verdicts: Iterable[Verdict]) -> list[Verdict]:
    return sorted(verdicts, key=lambda verdict: verdict.node)  # stable: GPUs keep their order


def first_judged(
    view: View, request: FitRequest, needs: Needs, count: int, *, own: NodeName | None, most: int
) -> Iterator[Judged]:
    """Judge the first GPUs of nodes that may be used, those of the `own` node before the others."""
    others = (name for name in view.names if name != own)
    for name in chain((own,), others) if own is not None else others:
        for item in judged(view.sites[name], request, needs, count)[:most]:
            most -= 1
            yield item
        if most <= 0:
            return
