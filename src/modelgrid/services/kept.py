"""What the steps of one deployment work on: its facts, its log, its engine.

The keeper makes one `Kept` per deployment; the modules `bring_up`, `watch_over` and `wind_down` are its steps.
"""

import asyncio
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from modelgrid.decide.progress import Phase, StartProgress, advance
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.engine import EngineLaunch, EngineRef, EngineState, LogLine
from modelgrid.domain.errors import RuntimeUnavailable
from modelgrid.domain.event import Event, Level, Subject
from modelgrid.domain.history import HistoryRecord
from modelgrid.domain.ids import DeploymentId, NodeName
from modelgrid.domain.model import Capability
from modelgrid.domain.target import RuntimeKind
from modelgrid.ports.clock import Clock
from modelgrid.ports.runtime import Runtime
from modelgrid.ports.store import Store
from modelgrid.services.live import LiveFacts
from modelgrid.services.logs.engine import EngineLog
from modelgrid.services.logs.store import LogStore
from modelgrid.services.readiness import ReadinessProbe
from modelgrid.services.registry import DeploymentRegistry

RETRY_SECONDS = 2.0
"""Pause before asking again a runtime or a store that does not answer."""
LAST_LINES_SECONDS = 2.0
"""The last lines of an ended engine say why it died; they may still be on their way so long."""
LINES_OF_THE_PAST = 5_000
"""Of an engine that runs already: what it said while nobody listened is taken in so far back."""
LINES_AT_ONCE = 200
"""After so many the loop does something else: what a runtime has in its hands comes without a pause."""
_OUR_PROBE = re.compile(r'"GET /(?:health|metrics) HTTP/1\.[01]" 200')
"""In vLLM's access log. Asked every few seconds, it would push all else out of the lines that are kept."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperTools:
    """What every keeper works with."""

    registry: DeploymentRegistry
    store: Store
    runtimes: Mapping[RuntimeKind, Runtime]
    logs: LogStore
    live: LiveFacts
    probe: ReadinessProbe
    clock: Clock
    allocate_port: Callable[[], int]
    launch: Callable[[Deployment], EngineLaunch]
    """Builds the launch of the present attempt; raises `LaunchRefused`, or `RuntimeUnavailable` while it must wait."""
    stop_grace: Callable[[DeploymentId], float | None] = lambda _: None
    """Seconds that an engine may take to end, where it is not the usual."""
    names: Callable[[Deployment], tuple[str, tuple[Capability, ...]]]
    """The name the engine serves, and what it is able to do."""
    node: NodeName
    """This one. What is placed on another is kept there."""
    in_flight: Callable[[DeploymentId], int | None]
    """Requests running on the replica now; `None` when no gateway has reported since draining began."""
    engine_gone: Callable[[], None] = lambda: None
    """Called when an engine was seen to be gone: its GPUs are worth a look."""

    def keeps(self, deployment: Deployment) -> bool:
        """Whether the deployment is this node's to keep: placed here, or nowhere yet."""
        return deployment.placement is None or deployment.placement.node == self.node


class Kept:
    """One deployment in its keeper's hands. Only the keeper's task calls it."""

    def __init__(self, deployment_id: DeploymentId, tools: KeeperTools) -> None:
        self.id = deployment_id
        self.tools = tools
        self.log = EngineLog(tools.logs, deployment_id)
        self.live = tools.live.of(deployment_id)
        self.follower: asyncio.Task[None] | None = None
        self._followed: EngineRef | None = None
        self._progress = StartProgress()
        self._attempt_begins: int | None = None
        """Number of the attempt's first log record; `None`: it began under an earlier daemon."""

    def forget_progress(self) -> None:
        """A new attempt begins: what the last one said of itself is over."""
        self._progress = StartProgress()
        self._attempt_begins = self.log.next_seq
        self.live.pull, self.live.phase, self.live.not_ready_because = None, "", ""

    def last_lines(self) -> tuple[LogLine, ...]:
        return self.log.last_lines()

    def lines_of_attempt(self, deployment: Deployment) -> tuple[LogLine, ...]:
        """Return the last lines of the present attempt only: what an earlier one died of explains nothing now."""
        if self._attempt_begins is not None:
            return self.log.last_lines(since=self._attempt_begins)
        began = math.floor(deployment.pull_started_at or 0.0)  # Podman's log times have whole seconds
        return tuple(line for line in self.log.last_lines() if line.at >= began)

    async def hear_last_lines(self) -> None:
        """Wait a moment for the log to end."""
        if self.follower is not None:
            await asyncio.wait({self.follower}, timeout=LAST_LINES_SECONDS)

    async def keep_last_lines(self, deployment: Deployment, reason: str) -> None:
        await self.tools.store.put_history(self.record(deployment, reason))

    def record(self, deployment: Deployment, reason: str) -> HistoryRecord:
        return HistoryRecord(
            deployment=deployment,
            ended_at=self.tools.clock.now(),
            reason=reason,
            by=deployment.intent_by,
            last_lines=self.last_lines(),
        )

    def close(self) -> None:
        if self.follower is not None:
            self.follower.cancel()

    def runtime(self, deployment: Deployment) -> Runtime:
        runtime = self.tools.runtimes.get(deployment.runtime)
        if runtime is None:
            raise RuntimeUnavailable(
                f"This node has no {deployment.runtime} runtime at present.", fix="`modelgrid doctor` tells why."
            )
        return runtime

    @staticmethod
    def engine(deployment: Deployment) -> EngineRef:
        if deployment.engine is None:
            raise AssertionError(f"{deployment.id} has no engine in a step that needs one")
        return deployment.engine

    async def change(self, change: Callable[[Deployment], Deployment], events: tuple[Event, ...] = ()) -> Deployment:
        return await self.tools.registry.change(self.id, change, events)

    def event(self, kind: str, message: str, level: Level = Level.INFO, by: str = "", **data: str) -> tuple[Event, ...]:
        return (
            Event(
                at=self.tools.clock.now(),
                subject=Subject.DEPLOYMENT,
                subject_id=self.id,
                kind=kind,
                message=message,
                level=level,
                by=by,
                data=data,
            ),
        )

    async def end_trouble(self, runtime: Runtime, ref: EngineRef) -> None:
        """Take back what is shown as trouble if the runtime answers again: the step under way may last for days."""
        if self.live.trouble and (await runtime.inspect(ref)).state is not EngineState.UNKNOWN:
            self.live.trouble, self.live.trouble_since = "", None

    def follow(self, runtime: Runtime, ref: EngineRef) -> None:
        """Keep the engine's output coming into the log; one follower per engine."""
        if self._followed == ref and self.follower is not None and not self.follower.done():
            return
        if self.follower is not None:
            self.follower.cancel()
        self._followed = ref
        self.follower = asyncio.create_task(self._take_in(runtime, ref))

    async def _take_in(self, runtime: Runtime, ref: EngineRef) -> None:
        while True:
            known = await self.log.resume_from(self.tools.clock.now())
            try:
                count = 0
                async for line in runtime.logs(ref, tail=LINES_OF_THE_PAST, follow=True):
                    if not _OUR_PROBE.search(line.text):
                        self._take(line, new=known.is_new(line))
                    count += 1
                    if count % LINES_AT_ONCE == 0:
                        await asyncio.sleep(0)
            except RuntimeUnavailable as error:
                log.info("log stream interrupted", deployment=self.id, error=error.message)
                await self.tools.clock.sleep(RETRY_SECONDS)
            else:
                return

    def _take(self, line: LogLine, *, new: bool) -> None:
        if new:
            self.log.add(line)
        if self._progress.phase < Phase.SERVING:  # what a daemon before this one heard tells how far it is, too
            self._progress = advance(self._progress, line.text)
            self.live.phase = self._progress.text
