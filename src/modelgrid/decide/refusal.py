"""The one sentence of a decision that found no place: what is missing, and what would mend it. Pure.

A refusal is stored and shown until it changes, so the sentence holds nothing that flickers: sizes that follow from
the request and the devices, never present readings. Those stand in the verdicts.
"""

from collections.abc import Iterable, Sequence

from modelgrid.decide.need import enough_gpus, largest_context
from modelgrid.domain.gpu import Gpu
from modelgrid.domain.ids import NodeName
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.placement import Verdict
from modelgrid.domain.target import Constraints, EngineSpec
from modelgrid.domain.units import format_bytes

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
        alike = (gpu.vendor, gpu.name) if gpu else None
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
