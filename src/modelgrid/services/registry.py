"""The deployments of this node: one writer for all their facts.

Everybody who wants a fact changed (reconciler, keeper, API) hands `change` a function of the present value.
Changes of one deployment happen one after the other; each is durable, with its events, before it is seen.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from modelgrid.domain.deployment import Deployment
from modelgrid.domain.errors import Ambiguous, NotFound
from modelgrid.domain.event import Event
from modelgrid.domain.history import HistoryRecord
from modelgrid.domain.ids import DeploymentId, slug
from modelgrid.ports.store import Store


class DeploymentRegistry:
    """Call `load` once before anything else. All methods run on the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._deployments: dict[DeploymentId, Deployment] = {}
        self._locks: defaultdict[DeploymentId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._listeners: list[Callable[[DeploymentId], None]] = []

    async def load(self) -> None:
        self._deployments = {item.id: item for item in await self._store.deployments()}

    def all(self) -> tuple[Deployment, ...]:
        return tuple(self._deployments.values())

    def find(self, deployment_id: DeploymentId) -> Deployment | None:
        return self._deployments.get(deployment_id)

    def placed_on(self, node: str) -> int:
        """Return how many deployments are placed on a node."""
        return sum(item.placement is not None and item.placement.node == node for item in self._deployments.values())

    def resolve(self, text: str) -> Deployment:
        """Return the deployment whose id is `text`, or the only one whose id starts with it, or with what the name of a
        model becomes in ids.

        Raises `NotFound`; `Ambiguous`, naming the candidates, when there are several."""
        if exact := self._deployments.get(DeploymentId(text)):
            return exact
        begins = (text, slug(text)) if text else ()
        matches = sorted(i for i in self._deployments if i.startswith(begins))
        if len(matches) == 1:
            return self._deployments[matches[0]]
        if matches:
            raise Ambiguous(
                f"{text!r} is the beginning of {len(matches)} deployments.", fix=f"Name one: {', '.join(matches)}."
            )
        raise NotFound(f"There is no deployment {text!r}.", fix="`modelgrid ps` lists them.")

    def on_change(self, listener: Callable[[DeploymentId], None]) -> None:
        """Call `listener` after each change, on the event loop. It must not block or raise."""
        self._listeners.append(listener)

    async def create(self, deployment: Deployment, events: Sequence[Event] = ()) -> Deployment:
        saved = await self._store.save_deployment(deployment, events=events)
        self._deployments[saved.id] = saved
        self._tell(saved.id)
        return saved

    async def change(
        self, deployment_id: DeploymentId, change: Callable[[Deployment], Deployment], events: Sequence[Event] = ()
    ) -> Deployment:
        """Apply `change` to the present value, store it with `events`, and return it.

        A change that changes nothing stores nothing, events neither. Raises `NotFound` when it was archived
        meanwhile, and what the store raises; the value in memory is then the old one. Whoever is cancelled while
        waiting leaves the change to finish: memory and store never differ."""
        return await asyncio.shield(self._change(deployment_id, change, events))

    async def _change(
        self, deployment_id: DeploymentId, change: Callable[[Deployment], Deployment], events: Sequence[Event]
    ) -> Deployment:
        async with self._locks[deployment_id]:
            present = self._deployments.get(deployment_id)
            if present is None:
                raise NotFound(f"There is no deployment {deployment_id!r} any more.")
            wanted = change(present)
            if wanted == present:
                return present
            saved = await self._store.save_deployment(wanted, events=events)
            self._deployments[deployment_id] = saved
        self._tell(deployment_id)
        return saved

    async def archive(self, record: HistoryRecord, events: Sequence[Event] = ()) -> None:
        """Move a deployment to history; it is not listed any more."""
        await asyncio.shield(self._archive(record, events))

    async def _archive(self, record: HistoryRecord, events: Sequence[Event]) -> None:
        deployment_id = record.deployment.id
        async with self._locks[deployment_id]:
            await self._store.archive_deployment(record, events=events)
            self._deployments.pop(deployment_id, None)
        self._locks.pop(deployment_id, None)
        self._tell(deployment_id)

    def _tell(self, deployment_id: DeploymentId) -> None:
        for listener in self._listeners:
            listener(deployment_id)
