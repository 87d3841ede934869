from collections.abc import AsyncIterator, Callable, Collection
from typing import Protocol

from modelgrid.domain.engine import (
    EngineExit,
    EngineLaunch,
    EngineRef,
    EngineStats,
    EngineStatus,
    LogLine,
    PullProgress,
    RuntimeHealth,
)
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.target import RuntimeKind


class Runtime(Protocol):
    """Starts, finds and stops engines. One contract suite holds every implementation (`tests/contract`).

    * Every call is safe to repeat, and safe to repeat after the daemon was killed in the middle of it.
    * A runtime that does not answer within its own bound (10 s unless said) raises `RuntimeUnavailable`:
      the state of its engines is then unknown, and nobody may conclude that they stopped.
    * Nothing here retries, decides or logs; events are the caller's.
    * Only engines that this state directory owns are ever seen or touched (`owner`, see each adapter).
    """

    kind: RuntimeKind

    async def health(self) -> RuntimeHealth:
        """Return whether engines can be started. Never raises."""
        ...

    async def prepare(self, launch: EngineLaunch, progress: Callable[[PullProgress], None]) -> None:
        """Make the engine's program available: pull the image when it is missing, find `vllm` on the PATH.

        `progress` is called at most ten times a second. Cancelling stops the pull and leaves nothing behind.
        Raises `LaunchRefused` (with the registry's words) or `RuntimeUnavailable`."""
        ...

    async def start(self, launch: EngineLaunch) -> EngineRef:
        """Start the engine, or adopt the one of the same deployment and attempt that is there already.

        An engine of the same deployment and an *older* attempt is removed first.
        Raises `LaunchRefused` when the runtime will not start it as specified."""
        ...

    async def find(self) -> tuple[EngineRef, ...]:
        """Return every engine of this owner, running or not. For adoption and the sweep of orphans."""
        ...

    async def inspect(self, ref: EngineRef) -> EngineStatus:
        """Return the present state; `UNKNOWN` (not an exception) when the runtime does not answer."""
        ...

    async def wait(self, ref: EngineRef) -> EngineExit | None:
        """Return as soon as the engine is not running any more; `None` when it is gone without a trace.

        Raises `RuntimeUnavailable` when the runtime stops answering meanwhile."""
        ...

    async def stop(self, ref: EngineRef, grace_seconds: float) -> None:
        """Ask the engine to end (SIGTERM to its whole group), kill it after the grace. Done when it is not
        running. An engine that is not there is stopped."""
        ...

    async def remove(self, ref: EngineRef) -> None:
        """Remove a stopped engine with what it left (container, log files). Absent is fine."""
        ...

    def logs(self, ref: EngineRef, *, tail: int = 500, follow: bool = False) -> AsyncIterator[LogLine]:
        """Yield the last `tail` lines, then with `follow` each new one until the engine ends."""
        ...

    async def stats(self, ref: EngineRef) -> EngineStats:
        """Return the resources it uses at present; unknown readings are `None`."""
        ...

    async def sweep(self, keep: Collection[DeploymentId]) -> tuple[EngineRef, ...]:
        """Stop and remove every engine of this owner whose deployment is not in `keep`. Returns them."""
        ...

    async def close(self) -> None:
        """Release connections. Engines keep running."""
        ...
