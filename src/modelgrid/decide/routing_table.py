"""The routing table's models: what each name leads to, from targets, deployments and the catalog."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from modelgrid.decide.classify import classify
from modelgrid.decide.need import most_sequences
from modelgrid.domain.deployment import Deployment, DeploymentState, Intent
from modelgrid.domain.ids import ModelId
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.routing import ModelRoute, ModelState, Replica, ReplicaState
from modelgrid.domain.target import Target

_ON_THEIR_WAY = frozenset({DeploymentState.PULLING, DeploymentState.STARTING, DeploymentState.RESTARTING})

UNMEASURED_LOAD_SECONDS = 60
"""What clients are told to wait for a model whose load has not been measured yet."""
MOST_SEQUENCES = 1024
"""vLLM's largest default of `--max-num-seqs`, which depends on the GPU: for engines that were not told a number."""


def model_routes(
    targets: Sequence[Target],
    deployments: Sequence[Deployment],
    lookup: Callable[[str], CatalogEntry | None],
    load_seconds: Mapping[str, float],
    deployable: Sequence[CatalogEntry],
    now: float,
    lost: Collection[str] = (),
) -> tuple[ModelRoute, ...]:
    """Return one route per model, sorted by id.

    `lookup` finds a catalog entry by id, `load_seconds` has the measured load times by model, `deployable` are
    entries that a request may bring up (`models.autoDeploy`): it does where no target names the model and whatever
    engines there are leave for good. Engines on `lost` nodes are given nothing: they are replaced, and may be gone.
    """
    desired = {target.model for target in targets}
    by_model: dict[ModelId, list[Deployment]] = {target.model: [] for target in targets}
    wanted: defaultdict[str, int] = defaultdict(int)
    for target in targets:
        wanted[target.model] += target.replicas
    created = {target.model: int(target.created_at) for target in reversed(targets)}
    for deployment in (item for item in deployments if item.placement is None or item.placement.node not in lost):
        by_model.setdefault(deployment.model, []).append(deployment)
        created.setdefault(deployment.model, int(deployment.created_at))
    for entry in deployable:
        by_model.setdefault(entry.id, [])
        created.setdefault(entry.id, 0)
    routes = [
        _route(model, group, lookup(model), created[model], load_seconds.get(model), wanted[model], now)
        for model, group in by_model.items()
    ]
    on_request = {entry.id for entry in deployable if entry.id not in desired and _all_leave(by_model[entry.id])}
    routes = [replace(route, state=ModelState.ON_REQUEST) if route.id in on_request else route for route in routes]
    return tuple(sorted(routes, key=lambda route: route.id))


def with_cache_blocks(routes: Sequence[ModelRoute], blocks: Callable[[str], int | None]) -> tuple[ModelRoute, ...]:
    """Return the routes with what `blocks` knows of each replica's KV cache."""
    return tuple(
        replace(route, replicas=tuple(replace(item, cache_blocks=blocks(item.id)) for item in route.replicas))
        for route in routes
    )


def with_own(shared: Sequence[ModelRoute], own: Sequence[ModelRoute], node: str) -> tuple[ModelRoute, ...]:
    """Return the cluster's routes with what `node` knows of its own engines: it hears of them first, and goes on
    hearing of them when nobody tells it of the others."""
    mine = {route.id: route for route in own}
    routes = [_with_own(route, mine.pop(route.id, None), node) for route in shared]
    return tuple(sorted([*routes, *mine.values()], key=lambda route: route.id))


def served_beside(shared: Sequence[ModelRoute], node: str) -> bool:
    """Return whether any model has a replica that takes requests on another node than `node`."""
    replicas = (replica for route in shared for replica in route.replicas)
    return any(replica.state is ReplicaState.READY and replica.node != node for replica in replicas)


def _with_own(shared: ModelRoute, own: ModelRoute | None, node: str) -> ModelRoute:
    elsewhere = [replica for replica in shared.replicas if replica.node != node]
    here = own.replicas if own is not None else ()
    replicas = tuple(sorted([*elsewhere, *here], key=lambda replica: replica.id))
    if any(replica.state is ReplicaState.READY for replica in replicas):
        return replace(shared, replicas=replicas, state=ModelState.READY, reason="")
    state = ModelState.STARTING if shared.state is ModelState.READY else shared.state
    return replace(shared, replicas=replicas, state=state)


def _route(
    model: str,
    deployments: Sequence[Deployment],
    entry: CatalogEntry | None,
    created: int,
    load_seconds: float | None,
    wanted: int,
    now: float,
) -> ModelRoute:
    replicas = tuple(sorted(filter(None, (_replica(item, entry) for item in deployments)), key=lambda item: item.id))
    coming = [item for item in deployments if _is_coming(item, now)]
    if any(replica.state is ReplicaState.READY for replica in replicas):
        state, why = ModelState.READY, ""
    elif coming or sum(item.intent is not Intent.REMOVE for item in deployments) < wanted:
        state, why = ModelState.STARTING, _why([item for item in coming if item.failures], now)
    else:
        state, why = ModelState.STOPPED, _why(deployments, now)
    context = next((item.spec.context for item in deployments if item.spec.context), None)
    return ModelRoute(
        id=model,
        names=entry.names if entry else (model,),
        state=state,
        created=created,
        context=context or (entry.default_context if entry else None),
        replicas=replicas,
        retry_after_seconds=max(1, round(load_seconds or UNMEASURED_LOAD_SECONDS)),
        loading_since=min((item.started_at for item in coming if item.started_at is not None), default=None),
        reason=why,
    )


def _is_coming(deployment: Deployment, now: float) -> bool:
    """Whether a replica follows without anybody doing anything. One that found no place may wait for ever."""
    state = classify(deployment, now).state
    return state in _ON_THEIR_WAY or (state is DeploymentState.PENDING and deployment.refusal is None)


def _all_leave(deployments: Sequence[Deployment]) -> bool:
    """Whether nothing is left of them in the end. What was only stopped stays, and nobody starts it by asking."""
    return all(item.intent is Intent.REMOVE for item in deployments)


def _why(deployments: Sequence[Deployment], now: float) -> str:
    """Return what is said about deployments that serve nothing: the newest's word counts."""
    newest = max(deployments, key=lambda item: item.created_at, default=None)
    return classify(newest, now).reason.rstrip(".") if newest is not None else ""


def _places(deployment: Deployment, entry: CatalogEntry | None) -> int:
    """Return how many requests an engine is given at once: what it works on, and an eighth more, so that the next one
    is there already when one ends."""
    sequences = most_sequences(entry, deployment.spec) or MOST_SEQUENCES
    return sequences + max(1, sequences // 8)


def _replica(deployment: Deployment, entry: CatalogEntry | None) -> Replica | None:
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
        places=_places(deployment, entry),
        node=deployment.placement.node if deployment.placement is not None else "",
    )
