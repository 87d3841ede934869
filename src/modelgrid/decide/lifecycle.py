"""What the keeper of a deployment does next: an ordered rule table over stored facts, the first match wins.

Each step is safe to repeat: after a crash in the middle of one, the same facts lead to the same step again.
"""

from dataclasses import dataclass
from enum import StrEnum

from modelgrid.decide.classify import awaits_restart
from modelgrid.decide.restart import restart
from modelgrid.domain.deployment import Deployment, Intent


class Step(StrEnum):
    IDLE = "idle"
    """Nothing to do until somebody changes the deployment."""
    PREPARE = "prepare"
    """Pull the image or find the program."""
    START = "start"
    AWAIT_READY = "await_ready"
    WATCH = "watch"
    """It serves: notice its exit, and silence."""
    WAIT = "wait"
    """Until `until`, then decide again."""
    DRAIN = "drain"
    """No new requests; until running ones finished, at the latest at `until`."""
    STOP = "stop"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    step: Step
    until: float | None = None


def next_step(deployment: Deployment, *, drain_seconds: float) -> Next:
    """Decide the next step. `drain_seconds` bounds how long running requests may take to finish."""
    if deployment.intent is not Intent.RUN:
        return _towards_the_end(deployment, drain_seconds)
    if deployment.placement is None:
        return Next(step=Step.IDLE)
    if awaits_restart(deployment):
        return _after_failure(deployment)
    return _towards_running(deployment)


def _towards_the_end(deployment: Deployment, drain_seconds: float) -> Next:
    if deployment.removed_at is not None:
        return Next(step=Step.IDLE)
    if deployment.engine is not None and deployment.engine_gone_at is None:
        if deployment.ready_at is None or deployment.stop_started_at is not None:
            return Next(step=Step.STOP)
        began = deployment.drain_started_at
        return Next(step=Step.DRAIN, until=None if began is None else began + drain_seconds)
    return Next(step=Step.ARCHIVE if deployment.intent is Intent.REMOVE else Step.IDLE)


def _after_failure(deployment: Deployment) -> Next:
    at = restart(deployment.failures, deployment.id).at
    return Next(step=Step.IDLE) if at is None else Next(step=Step.WAIT, until=at)


def _towards_running(deployment: Deployment) -> Next:
    if deployment.ready_at is not None:
        return Next(step=Step.WATCH)
    if deployment.started_at is not None:
        return Next(step=Step.AWAIT_READY)
    if deployment.pulled_at is not None:
        return Next(step=Step.START)
    return Next(step=Step.PREPARE)
