"""What is missing between what is desired and what is there: `reconcile(facts)` → effects. Pure.

It knows nothing of what it decided before: each pass looks at the facts alone, and a pass over the facts that its
own effects made decides nothing. The numbered steps are those of `design.md` beside this file; step 1 is `replicas`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from modelgrid.decide.capacity import Capacity
from modelgrid.decide.effects import CreateDeployment, Effect, PlaceDeployment, RefuseDeployment, SetIntent
from modelgrid.decide.fit import FitRequest, fit, fit_into
from modelgrid.decide.fit_rules import Needs
from modelgrid.decide.need import footprint
from modelgrid.decide.promises import Promises, holds_place, is_measured, read_at
from modelgrid.decide.replicas import Plan, dismiss, least_wanted, place, plan_replicas
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.ids import DeploymentId, GpuId, NodeName
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.node import Node
from modelgrid.domain.placement import Decision
from modelgrid.domain.target import RuntimeKind, Target


def reconcile(
    targets: Sequence[Target],
    deployments: Sequence[Deployment],
    nodes: Sequence[Node],
    entries: Mapping[str, CatalogEntry],
    default_runtime: RuntimeKind,
    now: float,
    capacity: Capacity | None = None,
) -> tuple[Effect, ...]:
    """Return what has to be done. The order of the arguments does not matter.

    `capacity`, kept from pass to pass by the caller, saves looking anew at what has not changed since; it never changes
    what is decided.

    `entries` are catalog entries by canonical id. `default_runtime` is taken where a specification names none.
    `now` only tells how a deployment's state reads; no rule waits for a time."""
    present = sorted((d for d in deployments if d.removed_at is None), key=lambda d: (d.created_at, d.id))
    by_name = {node.name: node for node in nodes}
    by_target: dict[str, list[Deployment]] = {target.name: [] for target in targets}
    dismissals = []
    for deployment in present:
        if deployment.target in by_target:
            by_target[deployment.target].append(deployment)
        elif deployment.intent is not Intent.REMOVE:
            dismissals.append(dismiss(deployment, "no longer desired"))
    plans = [
        plan_replicas(target, by_target[target.name], by_name, default_runtime)
        for target in sorted(targets, key=lambda target: (target.created_at, target.name))
    ]
    for plan in plans:
        dismissals += plan.dismissals
    # What is dismissed here may give its place free at once; the rest of the pass sees that as the next one would.
    dismissed = {effect.deployment_id for effect in dismissals}
    present = [replace(d, intent=Intent.REMOVE) if d.id in dismissed else d for d in present]
    book = _Book(nodes, by_name, present, capacity if capacity is not None else Capacity())
    for plan in plans:
        dismissals += _place(plan, entries, book)
    for plan in plans:
        if plan.unplaced:
            refusal = _refuse(plan, entries, book)
            victims = _make_room(plan, present, entries, book)
            dismissals += [dismiss(victim, "makes room for its replacement") for victim in victims]
            if victims:
                missing = plan.target.replicas - len(plan.fresh) - plan.create - len(plan.old) + len(victims)
                plan.effects += [_landing(plan, None, refusal)] * missing
        elif plan.exclusive and plan.old and plan.settled and not plan.effects:
            dismissals += _give_up_first(plan, entries, book)
    return (*sorted(dismissals, key=lambda effect: effect.deployment_id), *(e for plan in plans for e in plan.effects))


# --- 2. places for those without one


class _Book:
    """What is given away so far in this pass: each placement sees the ones before it."""

    def __init__(
        self,
        nodes: Sequence[Node],
        by_name: Mapping[NodeName, Node],
        present: Sequence[Deployment],
        capacity: Capacity,
    ) -> None:
        self.by_name = by_name
        self._nodes = nodes
        self._present = present
        self._capacity = capacity
        self._is_open = False

    @property
    def capacity(self) -> Capacity:
        """Brought up to date when first asked for: most passes place nothing."""
        if not self._is_open:
            self._is_open = True
            self._capacity.update(self._nodes, self._present)
        return self._capacity


def _place(plan: Plan, entries: Mapping[str, CatalogEntry], book: _Book) -> list[SetIntent]:
    """Place what waits; return which absent instances of an exclusive target that ends for good."""
    waiting: list[Deployment | None] = [d for d in plan.fresh if d.placement is None and d.intent is Intent.RUN]
    waiting += [None] * plan.create
    if not waiting and not plan.exclusive:
        return []
    spread: Counter[NodeName] = Counter()
    spread_gpus: Counter[tuple[NodeName, GpuId]] = Counter()
    for deployment in (*plan.fresh, *plan.old):
        if deployment.placement is not None:
            spread[deployment.placement.node] += 1
            spread_gpus.update((deployment.placement.node, gpu) for gpu in deployment.placement.gpus)
    slots = plan.free_slots if plan.exclusive else len(waiting)
    request = _request(plan, entries, spread, spread_gpus)
    needs = Needs(request)
    while waiting and slots > 0:
        decision = fit_into(request, book.capacity, needs)
        if decision.node is None:
            break  # its like has no place either
        pending = waiting.pop(0)
        holder = f"{plan.target.name} (new, {len(waiting)} to come)" if pending is None else pending.id
        book.capacity.give(holder, decision)
        slots -= 1
        spread[decision.node] += 1
        spread_gpus.update((decision.node, gpu) for gpu in decision.gpus)
        plan.effects.append(_landing(plan, pending, decision))
    plan.unplaced = waiting if slots > 0 else []
    if not plan.exclusive:
        return []
    # Their nodes have stopped them by now, and must not take them up again when they are back.
    too_many = least_wanted(plan.absent, len(plan.absent) - max(0, slots))
    return [dismiss(lost, f"{place(lost)} is lost, and it is started elsewhere") for lost in too_many]


def _request(
    plan: Plan,
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
        spread=spread if spread is not None else {},
        spread_gpus=spread_gpus if spread_gpus is not None else {},
    )


def _landing(plan: Plan, deployment: Deployment | None, decision: Decision) -> Effect:
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


def _refuse(plan: Plan, entries: Mapping[str, CatalogEntry], book: _Book) -> Decision:
    """Explain by what *every* placement of this pass left: the next pass, which starts from there, explains alike."""
    request = _request(plan, entries)
    decision = fit_into(request, book.capacity, Needs(request))
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
    plan: Plan,
    present: Sequence[Deployment],
    entries: Mapping[str, CatalogEntry],
    book: _Book,
) -> list[Deployment]:
    """Return as few old instances as have to go for a refused replacement to have a place; none if that is no help.

    Only while there is one more than desired: once an old instance was given up the number is not exceeded, so one
    refused replacement does not take them all down one after the other. And only by readings from after the
    replacement was wanted: an older one may still show the memory of an engine that has left."""
    if plan.exclusive or not plan.old or len(plan.fresh) + len(plan.old) <= plan.target.replicas:
        return []
    since = max((d.created_at for d in plan.unplaced if d is not None), default=None)
    if since is None:
        return []
    request = _request(plan, entries)
    by_name = book.by_name
    leaving = [d for d in present if d.intent is not Intent.RUN]
    old = [
        d
        for d in plan.old
        if d.placement is not None and (node := by_name.get(d.placement.node)) is not None and read_at(d, node) > since
    ]
    one_each = [old[i : i + 1] for i in range(len(old))]
    several = [old[:count] for count in range(2, len(old) + 1)]
    for victims in ([], *one_each, *several):
        if fit(request, *_without([*leaving, *victims], book)).placed:
            return victims
    return []


def _give_up_first(plan: Plan, entries: Mapping[str, CatalogEntry], book: _Book) -> list[SetIntent]:
    """Return the old instance of an exclusive target that ends before its replacement may start: the least wanted one
    without which there would be a place. Without a place it serves on."""
    request = _request(plan, entries)
    anyway = fit_into(request, book.capacity, Needs(request)).placed
    for victim in least_wanted(plan.old, len(plan.old)):
        if anyway or fit(request, *_without([victim], book)).placed:
            return [dismiss(victim, "ends before its replacement starts, as only one of the two may run")]
    return []


def _without(gone: Sequence[Deployment], book: _Book) -> tuple[list[Node], Promises]:
    """Return the nodes of `gone`, and what is held there, as they will be when those have left and the devices were
    read again. All other nodes stay as they are: whoever has no place there has none then."""
    freed: Counter[tuple[NodeName, GpuId | None]] = Counter()
    touched: dict[NodeName, Node] = {}
    for deployment in gone:
        placement = deployment.placement
        node = book.by_name.get(placement.node) if placement is not None else None
        if placement is None or node is None:
            continue
        touched[node.name] = node
        if not holds_place(deployment) or not is_measured(deployment, node):
            continue
        need = placement.decision.need
        if need.gpu_count == 0:
            freed[node.name, None] += need.per_gpu_bytes
        for gpu in node.inventory.gpus:
            if gpu.id in placement.gpus:
                freed[node.name, gpu.id] += footprint(need, gpu.vram_total_bytes)
    gone_ids: set[DeploymentId] = {deployment.id for deployment in gone}
    return [_with_freed(node, freed) for node in touched.values()], book.capacity.promises_on(touched).without(gone_ids)


def _with_freed(node: Node, freed: Mapping[tuple[NodeName, GpuId | None], int]) -> Node:
    gpus = tuple(
        replace(gpu, vram_free_bytes=min(gpu.vram_total_bytes, gpu.vram_free_bytes + freed.get((node.name, gpu.id), 0)))
        for gpu in node.inventory.gpus
    )
    memory = min(node.memory_total_bytes, node.memory_available_bytes + freed.get((node.name, None), 0))
    return replace(node, inventory=replace(node.inventory, gpus=gpus), memory_available_bytes=memory)
