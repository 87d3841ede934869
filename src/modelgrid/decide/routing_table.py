"""The routing table's models: what each name leads to, from targets, deployments and the catalog."""

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from modelgrid.decide.classify import classify
from modelgrid.domain.deployment import Deployment, DeploymentState, Intent
from modelgrid.domain.ids import ModelId
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.routing import ModelRoute, ModelState, Replica, ReplicaState
from modelgrid.domain.target import Target

_ON_THEIR_WAY = frozenset({DeploymentState.PULLING, DeploymentState.STARTING, DeploymentState.RESTARTING})

UNMEASURED_LOAD_SECONDS = 60
"""What clients are told to wait for a model whose load has not been measured yet."""


def model_routes(
    targets: Sequence[Target],
    deployments: Sequence[Deployment],
    lookup: Callable[[str], CatalogEntry | None],
    load_seconds: Mapping[str, float],
    deployable: Sequence[CatalogEntry],
    now: float,
) -> tuple[ModelRoute, ...]:
    """Return one route per model, sorted by id.

    `lookup` finds a catalog entry by id, `load_seconds` has the measured load times by model, `deployable` are
    entries that a request may bring up (`models.autoDeploy`): known and not running.
    """
    by_model: dict[ModelId, list[Deployment]] = {target.model: [] for target in targets}
    created = {target.model: int(target.created_at) for target in reversed(targets)}
    for deployment in deployments:
        by_model.setdefault(deployment.model, []).append(deployment)
        created.setdefault(deployment.model, int(deployment.created_at))
    idle = {entry.id: entry for entry in deployable if entry.id not in by_model}
    routes = [
        _route(model, group, lookup(model), created[model], load_seconds.get(model), now)
        for model, group in by_model.items()
    ]
    routes += [_route(model, [], entry, 0, load_seconds.get(model), now) for model, entry in idle.items()]
    return tuple(sorted(routes, key=lambda route: route.id))


def _route(
    model: str,
    deployments: Sequence[Deployment],
    entry: CatalogEntry | None,
    created: int,
    load_seconds: float | None,
    now: float,
) -> ModelRoute:
    replicas = tuple(sorted(filter(None, (_replica(item) for item in deployments)), key=lambda item: item.id))
    if any(replica.state is ReplicaState.READY for replica in replicas):
        state = ModelState.READY
    elif any(classify(item, now).state in _ON_THEIR_WAY for item in deployments):
        state = ModelState.STARTING
    else:
        state = ModelState.STOPPED
    context = next((item.spec.context for item in deployments if item.spec.context), None)
    return ModelRoute(
        id=model,
        names=entry.names if entry else (model,),
        state=state,
        created=created,
        context=context or (entry.default_context if entry else None),
        replicas=replicas,
        retry_after_seconds=max(1, round(load_seconds or UNMEASURED_LOAD_SECONDS)),
    )


def _replica(deployment: Deployment) -> Replica | None:
    """Return the replica that a deployment offers; `None` while it cannot take or finish a request."""
    if deployment.engine is None or deployment.ready_at is None or deployment.stop_started_at is not None:
        return None
    leaving = (
        deployment.intent is not Intent.RUN or deployment.restart_requested or deployment.unhealthy_since is not None
    )
    address = urlsplit(deployment.engine.url)
    return Replica(
        id=deployment.id,
        host=address.hostname or "127.0.0.1",
        port=address.port or (443 if address.scheme == "https" else 80),
        state=ReplicaState.DRAINING if leaving else ReplicaState.READY,
    )
