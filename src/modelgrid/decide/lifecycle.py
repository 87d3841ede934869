"""What the keeper of a deployment does next: ordered rules over stored facts, the first match wins.

Each step is safe to repeat: after a crash in the middle of one, the same facts lead to the same step again.
`lifecycle.md` beside this file has the tables.
"""

from dataclasses import dataclass
from enum import StrEnum

from modelgrid.decide.classify import awaits_restart
from modelgrid.decide.restart import LONGEST_DELAY_SECONDS, restart
from modelgrid.domain.deployment import Deployment, Intent


class Step(StrEnum):
    IDLE = "idle"
    """Nothing to do until somebody changes the deployment."""
    WAIT = "wait"
    """Nothing to do before `until`."""
    BEGIN = "begin"
    """Open a new attempt."""
    PREPARE = "prepare"
    """Pull the image or find the program."""
    START = "start"
    AWAIT_READY = "await_ready"
    WATCH = "watch"
    """It serves: notice its exit, and its silence."""
    DRAIN = "drain"
    """No new requests until running ones finished, at the latest at `until`."""
    STOP = "stop"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    step: Step
    until: float | None = None


def next_step(deployment: Deployment, now: float, *, drain_seconds: float) -> Next:
    """Decide the next step. `drain_seconds` bounds how long running requests may take to finish."""
    if deployment.removed_at is not None:
        return Next(step=Step.IDLE)
    if deployment.intent is not Intent.RUN:
        return _towards_the_end(deployment, now, drain_seconds)
    if deployment.placement is None:
        return Next(step=Step.IDLE)
    if deployment.restart_requested and deployment.engine is not None:
        return _end_engine(deployment, now, drain_seconds)
    if deployment.restart_requested or deployment.attempt == 0:
        return Next(step=Step.BEGIN)
    return _after_failure(deployment, now) if awaits_restart(deployment) else _towards_running(deployment)


def _towards_the_end(deployment: Deployment, now: float, drain_seconds: float) -> Next:
    if deployment.engine is not None:
        return _end_engine(deployment, now, drain_seconds)
    if deployment.placement is not None and deployment.engine_gone_at is None:
        # A start may have been cut off between the engine and the record of it. And whoever gave the place away learns
        # from this step that nothing is there.
        return Next(step=Step.STOP)
    return Next(step=Step.ARCHIVE if deployment.intent is Intent.REMOVE else Step.IDLE)


def _after_failure(deployment: Deployment, now: float) -> Next:
    at = restart(deployment).at
    if at is None:
        return Next(step=Step.IDLE)
    # No wait is longer than the longest delay: a clock that was set back must not make it so.
    waits = at - LONGEST_DELAY_SECONDS <= now < at
    return Next(step=Step.WAIT, until=at) if waits else Next(step=Step.BEGIN)


def _end_engine(deployment: Deployment, now: float, drain_seconds: float) -> Next:
    serves = deployment.ready_at is not None and deployment.stop_started_at is None
    until = (deployment.drain_started_at or now) + drain_seconds
    return Next(step=Step.DRAIN, until=until) if serves and now < until else Next(step=Step.STOP)


def _towards_running(deployment: Deployment) -> Next:
    if deployment.ready_at is not None:
        return Next(step=Step.WATCH)
    if deployment.started_at is not None:
        return Next(step=Step.AWAIT_READY)
    if deployment.pulled_at is not None:
        return Next(step=Step.START)
    return Next(step=Step.PREPARE)
