"""The state of a deployment, derived from its facts: an ordered rule table, the first match wins."""

from collections.abc import Callable
from dataclasses import dataclass

from modelgrid.decide.restart import restart
from modelgrid.domain.deployment import Deployment, DeploymentState, Intent
from modelgrid.domain.units import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """A state and the one sentence that says why."""

    state: DeploymentState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    state: DeploymentState
    applies: Callable[[Deployment], bool]
    reason: Callable[[Deployment, float], str]


def awaits_restart(deployment: Deployment) -> bool:
    """Whether the last attempt failed and no new one has begun."""
    return bool(deployment.failures) and deployment.failures[-1].attempt == deployment.attempt


def serves(deployment: Deployment) -> bool:
    """Whether it is `running` and answers. Says the same as the table, without a sentence: it is asked of everything
    there is, in each pass."""
    return (
        deployment.ready_at is not None
        and deployment.unhealthy_since is None
        and deployment.intent is Intent.RUN
        and deployment.placement is not None
        and deployment.removed_at is None
        and not deployment.restart_requested
        and not awaits_restart(deployment)
    )


def _given_up(deployment: Deployment) -> bool:
    return awaits_restart(deployment) and restart(deployment).at is None


def _restarts_by_request(deployment: Deployment) -> bool:
    return deployment.restart_requested and deployment.placement is not None


def _stop_reason(deployment: Deployment, _: float) -> str:
    return deployment.intent_reason or "stopped by request"


def _pending_reason(deployment: Deployment, _: float) -> str:
    if deployment.placement is not None:
        return f"placed on {deployment.placement.node}, not begun yet"
    return deployment.refusal.summary if deployment.refusal else "not placed yet"


def _failure_reason(deployment: Deployment) -> str:
    last = deployment.failures[-1]
    if last.diagnosis is not None:
        return last.diagnosis.cause
    if last.exit.error:
        return last.exit.error
    if last.exit.signal is not None:
        return f"killed by signal {last.exit.signal}"
    return f"exited with code {last.exit.code}" if last.exit.code is not None else "exited, its status is not known"


def _restart_reason(deployment: Deployment, now: float) -> str:
    decision = restart(deployment)
    wait = max(0.0, (decision.at or now) - now)
    return f"{_failure_reason(deployment)}; {decision.reason} in {format_duration(wait)}"


def _failed_reason(deployment: Deployment, _: float) -> str:
    why, given_up = _failure_reason(deployment), restart(deployment).reason
    return given_up if why in given_up else f"{why}; {given_up}"


def _running_reason(deployment: Deployment, now: float) -> str:
    if deployment.unhealthy_since is not None:
        return f"does not answer for {format_duration(now - deployment.unhealthy_since)}"
    return "answers"


_RULES: tuple[_Rule, ...] = (
    _Rule(state=DeploymentState.STOPPED, applies=lambda d: d.removed_at is not None, reason=_stop_reason),
    _Rule(
        state=DeploymentState.STOPPED,
        applies=lambda d: d.intent is not Intent.RUN and d.engine is None,
        reason=_stop_reason,
    ),
    _Rule(
        state=DeploymentState.DRAINING,
        applies=lambda d: d.intent is not Intent.RUN and d.stop_started_at is None and d.ready_at is not None,
        reason=lambda d, _: "running requests finish",
    ),
    _Rule(
        state=DeploymentState.STOPPING,
        applies=lambda d: d.intent is not Intent.RUN,
        reason=lambda d, _: "the engine was asked to end",
    ),
    _Rule(state=DeploymentState.RESTARTING, applies=_restarts_by_request, reason=lambda d, _: d.intent_reason),
    _Rule(state=DeploymentState.FAILED, applies=_given_up, reason=_failed_reason),
    _Rule(state=DeploymentState.PENDING, applies=lambda d: d.placement is None, reason=_pending_reason),
    _Rule(state=DeploymentState.RESTARTING, applies=awaits_restart, reason=_restart_reason),
    _Rule(state=DeploymentState.RUNNING, applies=lambda d: d.ready_at is not None, reason=_running_reason),
    _Rule(
        state=DeploymentState.STARTING,
        applies=lambda d: d.started_at is not None or d.pulled_at is not None,
        reason=lambda d, _: "the engine loads" if d.started_at is not None else "the engine is being started",
    ),
    _Rule(
        state=DeploymentState.PULLING,
        applies=lambda d: d.pull_started_at is not None,
        reason=lambda d, _: "the image is being pulled" if d.spec.image else "the engine is being made available",
    ),
)


def classify(deployment: Deployment, now: float) -> Classified:
    """Return the state of `deployment` and why."""
    for rule in _RULES:
        if rule.applies(deployment):
            return Classified(state=rule.state, reason=rule.reason(deployment, now))
    return Classified(state=DeploymentState.PENDING, reason=_pending_reason(deployment, now))
