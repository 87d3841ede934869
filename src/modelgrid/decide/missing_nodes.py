"""Deployments whose node is not there any more: nobody tells what becomes of them, so nothing may count on them."""

from collections.abc import Collection, Iterable

from modelgrid.domain.deployment import Deployment
from modelgrid.domain.ids import NodeName


def on_missing_nodes(
    deployments: Iterable[Deployment], here: Collection[NodeName]
) -> tuple[tuple[Deployment, NodeName], ...]:
    """Return what is placed on nodes that are none of `here`, and where. What has no place yet misses nothing."""
    return tuple(
        (deployment, deployment.placement.node)
        for deployment in deployments
        if deployment.placement is not None and deployment.placement.node not in here
    )
