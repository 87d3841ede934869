"""A failed attempt: its diagnosis, its last lines, and what comes next."""

import asyncio
from dataclasses import replace

import structlog

from modelgrid.decide.classify import classify
from modelgrid.decide.diagnose import diagnose
from modelgrid.decide.restart import failures_after, restart
from modelgrid.domain.deployment import Deployment, DeploymentState, Failure
from modelgrid.domain.engine import EngineExit
from modelgrid.domain.event import Level
from modelgrid.domain.units import format_duration
from modelgrid.services.failpoints import failpoint
from modelgrid.services.kept import Kept

log = structlog.get_logger()


async def exited(kept: Kept, deployment: Deployment, ended: EngineExit | None) -> None:
    """Record that the engine ended by itself."""
    await kept.hear_last_lines()
    await failed(
        kept, deployment, ended or EngineExit(at=kept.tools.clock.now(), error="the engine vanished without a trace")
    )


async def kill_hung(kept: Kept, deployment: Deployment, why: str) -> None:
    """Kill an engine that gives no sign of life, and record the failure."""
    await kept.runtime(deployment).stop(kept.engine(deployment), 0.0)
    await failed(kept, deployment, EngineExit(at=kept.tools.clock.now(), error=f"killed: {why}"))


async def failed(kept: Kept, deployment: Deployment, ended: EngineExit) -> None:
    """Record one failed attempt with its diagnosis, and keep its last lines.

    Recording the failure is itself a change that breaks off the keeper's step; the lines are kept all the same."""
    await asyncio.shield(_record(kept, deployment, ended))


async def _record(kept: Kept, deployment: Deployment, ended: EngineExit) -> None:
    failpoint("failed")
    lines = [line.text for line in kept.lines_of_attempt(deployment)]
    failure = Failure(
        attempt=deployment.attempt,
        exit=ended,
        diagnosis=diagnose(ended, lines, ended.error),
    )
    failures = failures_after(deployment.failures, failure, deployment.ready_at)
    after = replace(deployment, failures=failures, ready_at=None, started_at=None, unhealthy_since=None, port=None)
    now = kept.tools.clock.now()
    why = classify(after, now)
    given_up = why.state is DeploymentState.FAILED
    events = [*kept.event("exited", _exit_words(ended), Level.WARNING)]
    if failure.diagnosis is not None:
        said = f"{failure.diagnosis.cause} {failure.diagnosis.remedy}"
        events += kept.event("diagnosed", said, Level.WARNING, code=failure.diagnosis.code)
    if given_up:
        events += kept.event("gave_up", restart(after).reason, Level.ERROR)
    else:
        wait = format_duration(max(0.0, (restart(after).at or now) - now))
        events += kept.event("restarting", f"{restart(after).reason} in {wait}")
    saved = await kept.change(
        lambda d: replace(
            d,
            failures=failures,
            ready_at=None,
            started_at=None,
            pulled_at=None,
            pull_started_at=None,
            unhealthy_since=None,
            port=None,
        ),
        tuple(events),
    )
    failpoint("failure_recorded")
    log.warning("engine failed", deployment=kept.id, attempt=failure.attempt, reason=why.reason)
    await kept.keep_last_lines(saved, why.reason)


def _exit_words(ended: EngineExit) -> str:
    if ended.error:
        return ended.error
    if ended.signal is not None:
        return f"killed by signal {ended.signal}" + (" (out of host memory)" if ended.out_of_memory else "")
    return f"exited with code {ended.code}" if ended.code is not None else "exited; its status is not known"
