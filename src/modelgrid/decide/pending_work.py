"""What is still under way for a target, in the words of the console's badges: `+1 replica`, `-1 replica`,
`moving worker-b → worker-a`. Pure.

It says what the facts show, not what a pass would do next: a badge is there until the work is done.
"""

from collections.abc import Mapping, Sequence

from modelgrid.decide.classify import serves
from modelgrid.decide.replicas import is_moving
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.ids import NodeName
from modelgrid.domain.node import Node, NodeLiveness
from modelgrid.domain.target import Target


def pending_work(target: Target, own: Sequence[Deployment], nodes: Mapping[NodeName, Node]) -> tuple[str, ...]:
    """Return the badges of `target`. `own` are its deployments, `nodes` all nodes; the order does not matter.

    An instance that goes from one node and one that comes on another are one move. What is stopped counts as it was
    left. Nothing under way: an empty tuple."""
    going, coming, moves, there = [], [], [], 0
    for deployment in sorted(own, key=lambda deployment: (deployment.created_at, deployment.id)):
        if _is_lost(deployment, nodes):
            going += [deployment] if deployment.intent is Intent.RUN else []
        elif deployment.intent is Intent.REMOVE:
            going.append(deployment)
        elif deployment.intent is Intent.STOP or serves(deployment):
            there += 1
            going += [deployment] if serves(deployment) and is_moving(deployment, nodes) else []
        else:
            coming.append(deployment)
    arriving = len(coming)
    for deployment in coming:
        source = next((d for d in going if _can_be_a_move(d, deployment, nodes)), None)
        if source is not None:
            going.remove(source)
            arriving -= 1
            there += 1
            moves.append(f"moving {_node(source)} → {_node(deployment) or 'no place yet'}")
    more = max(target.replicas - there, arriving)
    fewer = sum(deployment.intent is Intent.REMOVE and not _is_lost(deployment, nodes) for deployment in going)
    return (*moves, *_replicas("+", more), *_replicas("-", fewer))


def _replicas(sign: str, count: int) -> list[str]:
    return [f"{sign}{count} replica{'s' * (count > 1)}"] if count > 0 else []


def _can_be_a_move(source: Deployment, new: Deployment, nodes: Mapping[NodeName, Node]) -> bool:
    """Whether `new` takes the place of `source` on another node; without a place only for one that has to leave."""
    if _node(new) is None:
        return serves(source) and is_moving(source, nodes) and not _is_lost(source, nodes)
    return _node(source) not in (None, _node(new))


def _node(deployment: Deployment) -> NodeName | None:
    return deployment.placement.node if deployment.placement is not None else None


def _is_lost(deployment: Deployment, nodes: Mapping[NodeName, Node]) -> bool:
    name = _node(deployment)
    node = nodes.get(name) if name is not None else None
    return node is not None and node.liveness is NodeLiveness.LOST
