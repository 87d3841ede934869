"""How many instances of a target there are to be, and which of those there are stay: step 1 of `reconcile`. Pure.

Each instance has one standing, by the ordered table below; the first match wins. The numbers are those of `design.md`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from modelgrid.decide.classify import classify, serves
from modelgrid.decide.effects import Effect, SetIntent
from modelgrid.decide.promises import holds_place
from modelgrid.domain.deployment import Deployment, DeploymentState, Intent
from modelgrid.domain.ids import GpuId, NodeName
from modelgrid.domain.node import Node, NodeLiveness, NodeStatus
from modelgrid.domain.target import RuntimeKind, Target

SURGE = 1
"""Instances beyond the desired number while old ones are replaced by new ones. None for exclusive targets."""


class Standing(Enum):
    """What an instance counts as."""

    FRESH = auto()
    """As it is desired now, or stopped by its operator: one of the replicas."""
    OLD = auto()
    """Serves, and is desired differently or elsewhere now: goes when its replacement serves."""
    UNFIT = auto()
    """Likewise, but does not serve: nothing is lost when it goes at once."""
    ABSENT = auto()
    """On a node that is lost: no replica, and kept for the case that the node is back before its replacement serves."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """What one pass does about one target."""

    target: Target
    runtime: RuntimeKind
    fresh: list[Deployment]
    old: list[Deployment]
    absent: list[Deployment]
    lingering: int
    """Instances that were dismissed and may still have an engine. They count where a target is exclusive."""
    settled: bool
    """Nothing is on its way in or out: the next replacement may begin."""
    create: int
    dismissals: list[SetIntent]
    unplaced: list[Deployment | None] = field(default_factory=list)
    """Instances without a place, `None` for one that is created in this pass."""
    effects: list[Effect] = field(default_factory=list)

    @property
    def exclusive(self) -> bool:
        return self.target.constraints.exclusive

    @property
    def free_slots(self) -> int:
        """How many more an exclusive target may start now: those without a place hold none."""
        placed = sum(deployment.placement is not None or deployment.intent is Intent.STOP for deployment in self.fresh)
        return self.target.replicas - placed - len(self.old) - self.lingering


def plan_replicas(
    target: Target, own: Sequence[Deployment], nodes: Mapping[NodeName, Node], default_runtime: RuntimeKind
) -> Plan:
    """Decide about `own`, the instances of `target`, oldest first. `nodes` are all nodes of the cluster."""
    runtime = wanted_runtime(target, default_runtime)
    if len(own) == target.replicas and all(
        d.intent is Intent.RUN and serves(d) and _standing(d, target, runtime, nodes) is Standing.FRESH for d in own
    ):
        return _as_desired(target, runtime, own)
    by_standing: dict[Standing, list[Deployment]] = {standing: [] for standing in Standing}
    leaving = []
    for deployment in own:
        if deployment.intent is Intent.REMOVE:
            leaving += [deployment] if _is_there(deployment, nodes) else []
        else:
            by_standing[_standing(deployment, target, runtime, nodes)].append(deployment)
    fresh, old, absent = (by_standing[standing] for standing in (Standing.FRESH, Standing.OLD, Standing.ABSENT))
    parted = []
    going = [(d, _why_it_goes(d, target, nodes)) for d in by_standing[Standing.UNFIT]]

    # An old instance goes when new ones (or stopped ones, which an operator wants so) fill the number without it.
    satisfied = sum(d.intent is Intent.STOP or serves(d) for d in fresh)
    all_settled = satisfied == len(fresh)
    for deployment in least_wanted(old, satisfied + len(old) - target.replicas):
        going.append((deployment, _why_it_goes(deployment, target, nodes)))
        old.remove(deployment)
    surplus = len(fresh) + len(old) - target.replicas - (SURGE if old and not target.constraints.exclusive else 0)
    for deployment in least_wanted(fresh, surplus):
        going.append((deployment, _why_it_is_too_many(deployment, target)))
        fresh.remove(deployment)
    serving = len(old) + sum(d.intent is Intent.STOP or serves(d) for d in fresh) if absent else 0
    for deployment in least_wanted(absent, serving + len(absent) - target.replicas):
        parted.append(dismiss(deployment, f"{place(deployment)} is lost, and others serve in its place"))
        absent.remove(deployment)

    plan = Plan(
        target=target,
        runtime=runtime,
        fresh=fresh,
        old=old,
        absent=absent,
        lingering=sum(holds_place(d) for d in leaving)
        + sum(holds_place(replace(d, intent=Intent.REMOVE)) for d, _ in going),
        settled=not leaving and not going and all_settled,
        create=0,
        dismissals=[*(dismiss(d, why) for d, why in going), *parted],
    )
    plan.create = max(0, target.replicas - len(fresh) - len(old))
    if target.constraints.exclusive:
        plan.create = min(plan.create, max(0, target.replicas - len(fresh) - len(old) - plan.lingering))
    elif old and plan.settled and len(fresh) + len(old) == target.replicas:
        plan.create = SURGE  # one replacement at a time, begun when the one before has settled
    return plan


def _as_desired(target: Target, runtime: RuntimeKind, own: Sequence[Deployment]) -> Plan:
    """Return the plan of a target of which nothing is missing and nothing too many, as most are: what the rules above
    come to then, without a look at each."""
    return Plan(
        target=target,
        runtime=runtime,
        fresh=list(own),
        old=[],
        absent=[],
        lingering=0,
        settled=True,
        create=0,
        dismissals=[],
    )


def wanted_runtime(target: Target, default_runtime: RuntimeKind) -> RuntimeKind:
    """Return the runtime that instances of `target` are to have."""
    if target.spec.runtime is not None:
        return target.spec.runtime
    return RuntimeKind.EXTERNAL if target.spec.url else default_runtime


def is_moving(deployment: Deployment, nodes: Mapping[NodeName, Node]) -> bool:
    """Whether its node is being emptied."""
    node = nodes.get(deployment.placement.node) if deployment.placement is not None else None
    return node is not None and node.status is NodeStatus.DRAINING


def _is_there(deployment: Deployment, nodes: Mapping[NodeName, Node]) -> bool:
    """Whether somebody can still be asked about it. A node that is not known has not spoken yet."""
    node = nodes.get(deployment.placement.node) if deployment.placement is not None else None
    return node is None or node.liveness is not NodeLiveness.LOST


def _standing(deployment: Deployment, target: Target, runtime: RuntimeKind, nodes: Mapping[NodeName, Node]) -> Standing:
    placement = deployment.placement
    node = nodes.get(placement.node) if placement is not None else None
    if deployment.intent is Intent.STOP:
        return Standing.FRESH
    if node is not None and node.liveness is NodeLiveness.LOST:
        return Standing.ABSENT
    if _is_outdated(deployment, target, runtime, node) or is_moving(deployment, nodes):
        return Standing.OLD if serves(deployment) else Standing.UNFIT
    return Standing.FRESH


def _is_outdated(deployment: Deployment, target: Target, runtime: RuntimeKind, node: Node | None) -> bool:
    """Whether an instance differs from what is desired."""
    if deployment.model != target.model or deployment.spec != target.spec:
        return True
    if deployment.placement is None:
        return deployment.runtime is not runtime
    if target.constraints.node not in (None, deployment.placement.node):
        return True
    return node is not None and _violates(deployment.placement.gpus, node, target)


def _violates(gpus: Iterable[GpuId], node: Node, target: Target) -> bool:
    constraints = target.constraints
    if constraints.labels and any(node.labels.get(name) != value for name, value in constraints.labels.items()):
        return True
    if constraints.vendor is None:
        return False
    return bool({gpu.vendor for gpu in node.inventory.gpus if gpu.id in set(gpus)} - {constraints.vendor})


def _why_it_goes(deployment: Deployment, target: Target, nodes: Mapping[NodeName, Node]) -> str:
    if is_moving(deployment, nodes) and deployment.spec == target.spec and deployment.model == target.model:
        return f"{place(deployment)} is draining"
    return "replaced by an instance as desired now" if serves(deployment) else "what is desired of it changed"


def _why_it_is_too_many(deployment: Deployment, target: Target) -> str:
    if target.updated_at >= deployment.created_at:
        return f"scaled down to {target.replicas}"
    return f"not needed any more: {target.replicas} desired, and others are there again"


_WORTH = {DeploymentState.PENDING: 1, DeploymentState.STOPPED: 2, DeploymentState.FAILED: 3}


def least_wanted(deployments: Sequence[Deployment], number: int) -> list[Deployment]:
    """Return the first `number` (none if negative) in the order in which they are given up: without a place, stopped,
    failed, not ready, serving; the newest first in each."""
    if number <= 0 or not deployments:
        return []

    def worth(deployment: Deployment) -> int:
        if deployment.placement is None:
            return 0
        return 5 if serves(deployment) else _WORTH.get(classify(deployment, deployment.created_at).state, 4)

    newest_first = sorted(deployments, key=lambda d: (d.created_at, d.id), reverse=True)
    return sorted(newest_first, key=worth)[:number]


def dismiss(deployment: Deployment, reason: str) -> SetIntent:
    """Return the effect that lets go of a deployment."""
    return SetIntent(deployment_id=deployment.id, intent=Intent.REMOVE, reason=reason)


def place(deployment: Deployment) -> str:
    """Return the name of its node."""
    return deployment.placement.node if deployment.placement is not None else "no node"
