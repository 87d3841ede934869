"""One keeper for each deployment that is placed on this node, for as long as it has a row."""

import asyncio

import structlog

from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.ids import DeploymentId
from modelgrid.services.keeper import Keeper
from modelgrid.services.kept import KeeperTools

SWEEP_EVERY_SECONDS = 300.0

log = structlog.get_logger()


class Keepers:
    def __init__(self, tools: KeeperTools) -> None:
        self._tools = tools
        self._running: dict[DeploymentId, tuple[Keeper, asyncio.Task[None]]] = {}

    def start(self) -> None:
        """Start a keeper for every stored deployment, and for each new one from now on."""
        self._tools.registry.on_change(self._changed)
        for deployment in self._tools.registry.all():
            self._changed(deployment.id)

    def _changed(self, deployment: DeploymentId) -> None:
        known = self._running.get(deployment)
        if known is not None:
            known[0].poke()
        elif self._tools.registry.find(deployment) is not None:
            keeper = Keeper(deployment, self._tools)
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

    async def sweep(self) -> None:
        """Remove engines of ours that no deployment stands behind, wherever a runtime answers."""
        keep = {deployment.id for deployment in self._tools.registry.all()}
        for runtime in self._tools.runtimes.values():
            try:
                for orphan in await runtime.sweep(keep):
                    log.warning("orphaned engine removed", deployment=orphan.deployment, engine=orphan.id)
            except ModelGridError as error:
                log.info("sweep postponed", runtime=runtime.kind.value, reason=error.message)

    async def sweep_regularly(self) -> None:
        while True:
            await self.sweep()
            await self._tools.clock.sleep(SWEEP_EVERY_SECONDS)

    async def close(self) -> None:
        """Stop keeping. Engines run on and are adopted by the next daemon."""
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
