"""What is missing between what is desired and what is there: `reconcile(facts)` → effects. Pure.

It knows nothing of what it decided before: each pass looks at the facts alone, and a pass over the facts that its
own effects made decides nothing. The numbered steps are those of `design.md` beside this file.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelgrid.decide.classify import classify
from modelgrid.decide.effects import CreateDeployment, Effect, PlaceDeployment, RefuseDeployment, SetIntent
from modelgrid.decide.fit import FitRequest, fit
from modelgrid.decide.need import footprint
from modelgrid.decide.promises import Promises, holds_place, is_measured, promises, read_at
from modelgrid.domain.deployment import Deployment, DeploymentState, Intent
from modelgrid.domain.ids import DeploymentId, GpuId, NodeName
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.node import Node
from modelgrid.domain.placement import Decision
from modelgrid.domain.target import RuntimeKind, Target

SURGE = 1
"""Instances beyond the desired number while old ones are replaced by new ones."""


def reconcile(
    targets: Sequence[Target],
    deployments: Sequence[Deployment],
    nodes: Sequence[Node],
    entries: Mapping[str, CatalogEntry],
    default_runtime: RuntimeKind,
    now: float,
) -> tuple[Effect, ...]:
    """Return what has to be done. The order of the arguments does not matter.

    `entries` are catalog entries by canonical id. `default_runtime` is taken where a specification names none.
    `now` only tells how a deployment's state reads; no rule waits for a time."""
    present = sorted((d for d in deployments if d.removed_at is None), key=lambda d: (d.created_at, d.id))
    wanted = {target.name for target in targets}
    dismissals = [
        SetIntent(deployment_id=deployment.id, intent=Intent.REMOVE, reason="no longer desired")
        for deployment in present
        if deployment.target not in wanted and deployment.intent is not Intent.REMOVE
    ]
    plans = [
        _plan(target, present, nodes, default_runtime, now)
        for target in sorted(targets, key=lambda target: (target.created_at, target.name))
    ]
    for plan in plans:
        dismissals += plan.dismissals
    # What is dismissed here may give its place free at once; the rest of the pass sees that as the next one would.
    dismissed = {effect.deployment_id for effect in dismissals}
    present = [replace(d, intent=Intent.REMOVE) if d.id in dismissed else d for d in present]
    book = _Book(nodes=nodes, promises=promises(present, nodes))
    for plan in plans:
        _place(plan, entries, book)
    for plan in plans:
        if plan.unplaced:
            refusal = _refuse(plan, entries, book)
            victims = _make_room(plan, present, entries, book)
            dismissals += [_dismiss(victim, "makes room for its replacement") for victim in victims]
            missing = plan.target.replicas - len(plan.fresh) - plan.create - len(plan.old) + len(victims)
            plan.effects += [_landing(plan, None, refusal)] * missing
    return (*sorted(dismissals, key=lambda effect: effect.deployment_id), *(e for plan in plans for e in plan.effects))


# --- 1. how many, and which


@dataclass(slots=True, kw_only=True)
class _Plan:
    """What one pass does about one target."""

    target: Target
    runtime: RuntimeKind
    fresh: list[Deployment]
    """Instances as they are desired now, and stopped ones."""
    old: list[Deployment]
    """Serving instances that are desired differently now."""
    create: int
    dismissals: list[SetIntent]
    unplaced: list[Deployment | None] = field(default_factory=list)
    """Instances without a place, `None` for one that is created in this pass."""
    effects: list[Effect] = field(default_factory=list)


def _plan(
    target: Target, present: Sequence[Deployment], nodes: Sequence[Node], default_runtime: RuntimeKind, now: float
) -> _Plan:
    runtime = wanted_runtime(target, default_runtime)
    mine = [d for d in present if d.target == target.name and d.intent is not Intent.REMOVE]
    outdated = [d for d in mine if _is_outdated(d, target, runtime, nodes)]
    fresh = [d for d in mine if d not in outdated]
    old = [d for d in outdated if _serves(d, now)]
    dismissals = [_dismiss(d, "what is desired of it changed") for d in outdated if d not in old]

    # An old instance goes when new ones (or stopped ones, which an operator wants so) fill the number without it.
    satisfied = [d for d in fresh if d.intent is Intent.STOP or _serves(d, now)]
    for deployment in _least_wanted(old, now)[: max(0, len(satisfied) + len(old) - target.replicas)]:
        dismissals.append(_dismiss(deployment, "replaced by an instance as desired now"))
        old.remove(deployment)
    surplus = len(fresh) + len(old) - target.replicas - (SURGE if old else 0)
    for deployment in _least_wanted(fresh, now)[: max(0, surplus)]:
        dismissals.append(_dismiss(deployment, f"scaled down to {target.replicas}"))
        fresh.remove(deployment)

    create = max(0, target.replicas - len(fresh) - len(old))
    leaving = bool(dismissals) or any(d.target == target.name and d.intent is Intent.REMOVE for d in present)
    if old and not leaving and len(fresh) + len(old) == target.replicas and len(satisfied) == len(fresh):
        create = SURGE  # one replacement at a time, begun when the one before has settled
    return _Plan(target=target, runtime=runtime, fresh=fresh, old=old, create=create, dismissals=dismissals)


def wanted_runtime(target: Target, default_runtime: RuntimeKind) -> RuntimeKind:
    """Return the runtime that instances of `target` are to have."""
    if target.spec.runtime is not None:
        return target.spec.runtime
    return RuntimeKind.EXTERNAL if target.spec.url else default_runtime


def _is_outdated(deployment: Deployment, target: Target, runtime: RuntimeKind, nodes: Iterable[Node]) -> bool:
    """Whether an instance differs from what is desired. A stopped one is left as its operator left it."""
    if deployment.intent is not Intent.RUN:
        return False
    if deployment.model != target.model or deployment.spec != target.spec:
        return True
    if deployment.placement is None:
        return deployment.runtime is not runtime
    return any(
        node.name == deployment.placement.node and _violates(deployment.placement.gpus, node, target) for node in nodes
    ) or target.constraints.node not in (None, deployment.placement.node)


def _violates(gpus: Iterable[GpuId], node: Node, target: Target) -> bool:
    constraints = target.constraints
    if any(node.labels.get(name) != value for name, value in constraints.labels.items()):
        return True
    vendors = {gpu.vendor for gpu in node.inventory.gpus if gpu.id in set(gpus)}
    return constraints.vendor is not None and bool(vendors - {constraints.vendor})


def _serves(deployment: Deployment, now: float) -> bool:
    return classify(deployment, now).state is DeploymentState.RUNNING and deployment.unhealthy_since is None


_WORTH = {DeploymentState.PENDING: 1, DeploymentState.STOPPED: 2, DeploymentState.FAILED: 3}


def _least_wanted(deployments: Iterable[Deployment], now: float) -> list[Deployment]:
    """Return `deployments` in the order in which they are given up: without a place, stopped, failed, not ready,
    serving; the newest first in each."""

    def worth(deployment: Deployment) -> int:
        if deployment.placement is None:
            return 0
        return 5 if _serves(deployment, now) else _WORTH.get(classify(deployment, now).state, 4)

    newest_first = sorted(deployments, key=lambda d: (d.created_at, d.id), reverse=True)
    return sorted(newest_first, key=worth)


def _dismiss(deployment: Deployment, reason: str) -> SetIntent:
    return SetIntent(deployment_id=deployment.id, intent=Intent.REMOVE, reason=reason)


# --- 2. places for those without one


@dataclass(slots=True, kw_only=True)
class _Book:
    """What is given away so far in this pass: each placement sees the ones before it."""

    nodes: Sequence[Node]
    promises: Promises


def _place(plan: _Plan, entries: Mapping[str, CatalogEntry], book: _Book) -> None:
    spread: Counter[NodeName] = Counter()
    spread_gpus: Counter[tuple[NodeName, GpuId]] = Counter()
    for deployment in (*plan.fresh, *plan.old):
        if deployment.placement is not None:
            spread[deployment.placement.node] += 1
            spread_gpus.update((deployment.placement.node, gpu) for gpu in deployment.placement.gpus)
    waiting: list[Deployment | None] = [d for d in plan.fresh if d.placement is None and d.intent is Intent.RUN]
    waiting += [None] * plan.create
    while waiting:
        request = _request(plan, entries, spread, spread_gpus)
        decision = fit(request, book.nodes, book.promises)
        if decision.node is None:
            break  # its like has no place either
        pending = waiting.pop(0)
        holder = f"{plan.target.name} (new, {len(waiting)} to come)" if pending is None else pending.id
        book.promises = book.promises.with_decision(holder, decision, book.nodes)
        spread[decision.node] += 1
        spread_gpus.update((decision.node, gpu) for gpu in decision.gpus)
        plan.effects.append(_landing(plan, pending, decision))
    plan.unplaced = waiting


def _request(
    plan: _Plan,
    entries: Mapping[str, CatalogEntry],
    spread: Mapping[NodeName, int] | None = None,
    spread_gpus: Mapping[tuple[NodeName, GpuId], int] | None = None,
) -> FitRequest:
    return FitRequest(
        target=plan.target.name,
        model=plan.target.model,
        entry=entries.get(plan.target.model),
        spec=plan.target.spec,
        constraints=plan.target.constraints,
        runtime=plan.runtime,
        spread=spread or {},
        spread_gpus=spread_gpus or {},
    )


def _landing(plan: _Plan, deployment: Deployment | None, decision: Decision) -> Effect:
    if deployment is not None:
        return PlaceDeployment(deployment_id=deployment.id, decision=decision)
    return CreateDeployment(
        target=plan.target.name,
        decision=decision,
        origin=plan.target.origin,
        model=plan.target.model,
        spec=plan.target.spec,
        runtime=plan.runtime,
    )


# --- 3. reasons for those that found none


def _refuse(plan: _Plan, entries: Mapping[str, CatalogEntry], book: _Book) -> Decision:
    """Explain by what *every* placement of this pass left: the next pass, which starts from there, explains alike."""
    decision = fit(_request(plan, entries), book.nodes, book.promises)
    for deployment in plan.unplaced:
        if deployment is None:
            plan.effects.append(_landing(plan, None, decision))
        elif deployment.refusal is None or _differs(deployment.refusal, decision):
            plan.effects.append(RefuseDeployment(deployment_id=deployment.id, decision=decision))
    return decision


def _differs(stored: Decision, decision: Decision) -> bool:
    """Whether a refusal says something new. Readings in verdicts change all the time and are not news."""

    def news(refusal: Decision) -> tuple[str, set[tuple[str, str | None, str]]]:
        return refusal.summary, {(verdict.node, verdict.gpu, verdict.code) for verdict in refusal.verdicts}

    return news(stored) != news(decision)


# --- 4. room for replacements that found none


def _make_room(
    plan: _Plan,
    present: Sequence[Deployment],
    entries: Mapping[str, CatalogEntry],
    book: _Book,
) -> list[Deployment]:
    """Return as few old instances as have to go for a refused replacement to have a place; none if that is no help.

    Only while there is one more than desired: once an old instance was given up the number is not exceeded, so one
    refused replacement does not take them all down one after the other. And only by readings from after the
    replacement was wanted: an older one may still show the memory of an engine that has left."""
    if not plan.old or len(plan.fresh) + len(plan.old) <= plan.target.replicas:
        return []
    since = max((d.created_at for d in plan.unplaced if d is not None), default=None)
    if since is None:
        return []
    request = _request(plan, entries)
    by_name = {node.name: node for node in book.nodes}
    leaving = [d for d in present if d.intent is not Intent.RUN]
    old = [
        d
        for d in plan.old
        if d.placement is not None and (node := by_name.get(d.placement.node)) is not None and read_at(d, node) > since
    ]
    one_each = [old[i : i + 1] for i in range(len(old))]
    several = [old[:count] for count in range(2, len(old) + 1)]
    for victims in ([], *one_each, *several):
        nodes, left = _without([*leaving, *victims], book)
        if fit(request, nodes, left).placed:
            return victims
    return []


def _without(gone: Sequence[Deployment], book: _Book) -> tuple[list[Node], Promises]:
    """Return the nodes and promises as they will be when `gone` have left and the devices were read again."""
    freed: Counter[tuple[NodeName, GpuId | None]] = Counter()
    by_name = {node.name: node for node in book.nodes}
    for deployment in gone:
        placement = deployment.placement
        node = by_name.get(placement.node) if placement is not None else None
        if placement is None or node is None or not holds_place(deployment) or not is_measured(deployment, node):
            continue
        need = placement.decision.need
        if need.gpu_count == 0:
            freed[node.name, None] += need.per_gpu_bytes
        for gpu in node.inventory.gpus:
            if gpu.id in placement.gpus:
                freed[node.name, gpu.id] += footprint(need, gpu.vram_total_bytes)
    nodes = []
    for node in book.nodes:
        gpus = tuple(
            replace(gpu, vram_free_bytes=min(gpu.vram_total_bytes, gpu.vram_free_bytes + freed[node.name, gpu.id]))
            for gpu in node.inventory.gpus
        )
        memory = min(node.memory_total_bytes, node.memory_available_bytes + freed[node.name, None])
        inventory = replace(node.inventory, gpus=gpus)
        nodes.append(replace(node, inventory=inventory, memory_available_bytes=memory))
    gone_ids: set[DeploymentId] = {deployment.id for deployment in gone}
    return nodes, book.promises.without(gone_ids)
