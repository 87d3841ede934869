"""One keeper for each deployment that is placed on this node, for as long as it has a row."""

import asyncio
from collections.abc import Collection, Iterator

import structlog

from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.ids import DeploymentId
from modelgrid.services.keeper import Keeper
from modelgrid.services.kept import KeeperTools

SWEEP_EVERY_SECONDS = 300.0

log = structlog.get_logger()


class Keepers:
    def __init__(self, tools: KeeperTools) -> None:
        self.tools = tools
        self._running: dict[DeploymentId, tuple[Keeper, asyncio.Task[None]]] = {}

    def start(self) -> None:
        """Start a keeper for every stored deployment, and for each new one from now on."""
        self.tools.registry.on_change(self._changed)
        for deployment in self.tools.registry.all():
            self._changed(deployment.id)

    def _changed(self, deployment: DeploymentId) -> None:
        known = self._running.get(deployment)
        if known is not None:
            known[0].poke()
        elif (found := self.tools.registry.find(deployment)) is not None and self.tools.keeps(found):
            keeper = Keeper(deployment, self.tools)
            task = asyncio.create_task(keeper.run(), name=f"keeper {deployment}")
            self._running[deployment] = (keeper, task)
            task.add_done_callback(lambda done: self._ended(deployment, done))

    def _ended(self, deployment: DeploymentId, task: asyncio.Task[None]) -> None:
        self._running.pop(deployment, None)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            log.error("keeper failed; it is started anew", deployment=deployment, exc_info=error)
            asyncio.get_running_loop().call_later(5.0, self._changed, deployment)
        else:
            self._changed(deployment)  # it may have come back from another node in this very moment

    async def sweep(self) -> None:
        """Remove engines of ours that no deployment stands behind, wherever a runtime answers."""
        keep = _EnginesInUse(self.tools)
        for runtime in self.tools.runtimes.values():
            try:
                for orphan in await runtime.sweep(keep):
                    log.warning("orphaned engine removed", deployment=orphan.deployment, engine=orphan.id)
            except ModelGridError as error:
                log.info("sweep postponed", runtime=runtime.kind.value, reason=error.message)

    async def sweep_regularly(self) -> None:
        while True:
            await self.sweep()
            await self.tools.clock.sleep(SWEEP_EVERY_SECONDS)

    async def close(self) -> None:
        """Stop keeping. Engines run on and are adopted by the next daemon."""
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _EnginesInUse(Collection[DeploymentId]):
    """The deployments whose engine must stay, as they are at the moment of asking: a runtime may take long to list its
    engines, and a deployment that began meanwhile is no orphan."""

    def __init__(self, tools: KeeperTools) -> None:
        self._tools = tools

    def __contains__(self, deployment_id: object) -> bool:
        found = self._tools.registry.find(DeploymentId(str(deployment_id)))
        return found is not None and self._uses_an_engine(found)

    def __iter__(self) -> Iterator[DeploymentId]:
        return (item.id for item in self._tools.registry.all() if self._uses_an_engine(item))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _uses_an_engine(self, deployment: Deployment) -> bool:
        """One that is to stop and has no engine on record may still have one: of a start during which it was stopped,
        and whose outcome a crash kept from being recorded. Nobody but the sweep would ever end it."""
        return self._tools.keeps(deployment) and (deployment.engine is not None or deployment.intent is Intent.RUN)
