"""Places without a GPU: an engine on the CPU, and one that somebody else runs. Pure."""

from bisect import bisect_left
from collections import Counter
from itertools import chain, islice

from modelgrid.decide.capacity import Site, View
from modelgrid.decide.fit_rules import FitRequest
from modelgrid.decide.need import device_need
from modelgrid.decide.refusal import Lack, explain
from modelgrid.decide.verdicts import MOST_VERDICTS, bound, kept
from modelgrid.domain.ids import NodeName
from modelgrid.domain.placement import Decision, MemoryNeed, Verdict
from modelgrid.domain.units import format_bytes

MEMORY_CODES = ("too_little_memory", "larger_than_device")


def fit_on_cpu(request: FitRequest, view: View) -> Decision:
    """Decide where an engine goes that needs no GPU: by the host memory of the nodes."""
    need = device_need(request.entry, request.spec, 0, None)
    size = need.per_gpu_bytes
    best = _best_host(request, view, size)

    def verdict(site: Site) -> Verdict:
        node = site.node
        free, available = node.memory_available_bytes, site.host_available
        promised = f"{format_bytes(free - available)} of it promised, " if free > available else ""
        numbers = f"{format_bytes(free)} of host memory free, {promised}{format_bytes(size)} needed"
        code, reason = _host_code(site, size), numbers
        if node.name == best:
            code, reason = "chosen", f"chosen: {numbers}"
        elif code == "not_chosen":
            reason = f"{numbers}: it would do, {best or ''} was preferred"
        elif code == "larger_than_device":
            reason = f"{format_bytes(size)} needed, {format_bytes(node.memory_total_bytes)} is all it has"
        return Verdict(
            node=node.name,
            chosen=node.name == best,
            free_bytes=free,
            promised_bytes=max(0, free - available),
            needed_bytes=size,
            code=code,
            reason=reason,
        )

    counted = Counter(_host_code(site, size) for site in view.sites.values())
    if best is None:
        words = [verdict(view.sites[name]) for name in view.names[:MOST_VERDICTS]]
        lack = Lack(
            inside=words,
            codes=counted,
            closed=view.closed_verdicts(),
            least_needed=size,
            rooms=(),
            hosts=view.hosts,
        )
        summary = explain(request, lack, (0,))
        return Decision(need=need, **kept(words, counted, view, None), summary=summary)
    counted += Counter(chosen=1)
    counted["not_chosen"] -= 1
    most = bound(counted.total() + len(view.closed), best)
    words = [verdict(view.sites[name]) for name in islice(chain((best,), _others(view, best)), most)]
    free_text = format_bytes(view.sites[best].host_available)
    summary = f"placed on {best}, on the CPU: {format_bytes(size)} of host memory needed, {free_text} free"
    return Decision(node=best, need=need, **kept(words, counted, view, best), summary=summary)


def _host_code(site: Site, size: int) -> str:
    if size > site.node.memory_total_bytes:
        return "larger_than_device"
    return "not_chosen" if site.host_available >= size else "too_little_memory"


def _best_host(request: FitRequest, view: View, size: int) -> NodeName | None:
    """Return the node with the fewest of its like and then the most room; packed: the one with the least that will
    do."""
    hosts = view.hosts
    if request.constraints.pack:
        after = bisect_left(hosts, (1 - size,))  # all before have room
        if after == 0:
            return None
        return hosts[bisect_left(hosts, (hosts[after - 1][0],))][1]
    busy: list[tuple[int, int, NodeName]] = []
    for negative, name in hosts:
        if -negative < size:
            break
        if not request.spread.get(name):
            return name
        busy.append((request.spread[name], negative, name))
    return min(busy)[2] if busy else None


def attach(request: FitRequest, view: View) -> Decision:
    """Decide who watches an engine that somebody else runs: nothing is given to it."""
    need = MemoryNeed(gpu_count=0, terms=())
    best = next((name for name in view.names if not request.spread.get(name)), None)
    if best is None:
        best = min(view.names, key=lambda name: (request.spread.get(name, 0), name), default=None)
    if best is None:
        lack = Lack(inside=(), codes=Counter(), closed=view.closed_verdicts(), least_needed=0, rooms=(), hosts=())
        summary = explain(request, lack, (0,))
        return Decision(need=need, **kept((), Counter(), view, None), summary=summary)
    counted = Counter(chosen=1, not_chosen=len(view.names) - 1)
    most = bound(counted.total() + len(view.closed), best)
    verdicts = [
        Verdict(node=name, chosen=True, code="chosen", reason="chosen: it watches the engine, which runs already")
        if name == best
        else Verdict(node=name, code="not_chosen", reason=f"it would do, {best} was preferred")
        for name in islice(chain((best,), _others(view, best)), most)
    ]
    summary = f"attached by {best}: the engine runs already"
    return Decision(node=best, need=need, **kept(verdicts, counted, view, best), summary=summary)


def _others(view: View, best: NodeName) -> list[NodeName]:
    return [name for name in view.names if name != best]
