"""The keeper of one deployment: asks `next_step`, does that one thing, stores the fact, asks again.

A keeper is the only one that touches its engine. Others change facts through the registry and call `poke`.
"""

import asyncio

import structlog

from modelgrid.decide.lifecycle import Next, Step, next_step
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.errors import ModelGridError, NotFound
from modelgrid.domain.ids import DeploymentId
from modelgrid.services.bring_up import await_ready, begin, prepare, start
from modelgrid.services.ending import end
from modelgrid.services.kept import RETRY_SECONDS, KeeperTools, Kept
from modelgrid.services.watch_over import watch
from modelgrid.services.wind_down import DRAIN_SECONDS, archive, drain, stop

_INTERRUPTIBLE = frozenset({Step.IDLE, Step.WAIT, Step.PREPARE, Step.AWAIT_READY, Step.WATCH, Step.DRAIN})
"""Steps that are broken off when a fact changes. The others are short, and are finished first."""

log = structlog.get_logger()


class Keeper:
    """Runs until its deployment is archived, or placed on another node. `run` is the only task that has effects."""

    def __init__(self, deployment_id: DeploymentId, tools: KeeperTools) -> None:
        self._kept = Kept(deployment_id, tools)
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """Have the next step decided anew, now."""
        self._poked.set()

    async def run(self) -> None:
        """Keep the deployment until it is archived or the task is cancelled; engines are then left as they are."""
        tools = self._kept.tools
        try:
            while (deployment := tools.registry.find(self._kept.id)) is not None and tools.keeps(deployment):
                self._poked.clear()
                step = next_step(deployment, tools.clock.now(), drain_seconds=DRAIN_SECONDS)
                await self._do_or_be_poked(deployment, step)
        finally:
            self._kept.close()

    async def _do_or_be_poked(self, deployment: Deployment, step: Next) -> None:
        work = asyncio.create_task(self._guarded(deployment, step))
        poked = asyncio.create_task(self._poked.wait())
        try:
            waited_for = {work, poked} if step.step in _INTERRUPTIBLE else {work}
            await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
        finally:
            poked.cancel()
            await end(work)

    async def _guarded(self, deployment: Deployment, step: Next) -> None:
        """Do one step. What cannot be done now is tried again after a pause; nothing of it ends the keeper."""
        live, clock = self._kept.live, self._kept.tools.clock
        try:
            await self._do(deployment, step)
        except NotFound:
            return
        except ModelGridError as error:
            if live.trouble != error.message:
                log.warning("step failed", deployment=self._kept.id, step=step.step.value, error=str(error))
                live.trouble_since = clock.now()
            live.trouble = error.message
            await clock.sleep(RETRY_SECONDS)
        else:
            live.trouble, live.trouble_since = "", None

    async def _do(self, deployment: Deployment, step: Next) -> None:
        kept = self._kept
        match step:
            case Next(step=Step.IDLE):
                await asyncio.Event().wait()
            case Next(step=Step.WAIT, until=float(until)):
                await kept.tools.clock.sleep(max(0.0, until - kept.tools.clock.now()))
            case Next(step=Step.BEGIN):
                await begin(kept)
            case Next(step=Step.PREPARE):
                await prepare(kept, deployment)
            case Next(step=Step.START):
                await start(kept, deployment)
            case Next(step=Step.AWAIT_READY):
                await await_ready(kept, deployment)
            case Next(step=Step.WATCH):
                await watch(kept, deployment)
            case Next(step=Step.DRAIN, until=float(until)):
                await drain(kept, deployment, until)
            case Next(step=Step.STOP):
                await stop(kept, deployment)
            case Next(step=Step.ARCHIVE):
                await archive(kept, deployment)
