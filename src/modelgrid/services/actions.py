"""What people do to one deployment: start, stop, restart, remove. Its origin decides what is allowed."""

from collections.abc import Callable
from dataclasses import replace

from modelgrid.decide.promises import holds_place
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.errors import Conflict, NotFound
from modelgrid.domain.event import Event, Subject
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.target import Origin
from modelgrid.ports.clock import Clock
from modelgrid.services.events import EventMaker
from modelgrid.services.failpoints import failpoint
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetService


class DeploymentActions:
    def __init__(self, registry: DeploymentRegistry, targets: TargetService, clock: Clock) -> None:
        self._registry = registry
        self._targets = targets
        self._clock = clock
        self._event = EventMaker(clock, Subject.DEPLOYMENT)

    async def start(self, deployment_id: DeploymentId, *, by: str) -> Deployment:
        """Run it again after a stop or after it was given up. Running already: nothing changes."""

        def started(present: Deployment) -> Deployment:
            _not_leaving(present)
            if present.intent is Intent.RUN and not present.failures:
                return present
            return _restarted(present, self._wish(present, Intent.RUN, "start requested", by))

        return await self._apply(deployment_id, started, "start_requested", "start requested", by)

    async def stop(self, deployment_id: DeploymentId, *, by: str) -> Deployment:
        """Drain it, stop its engine, keep its row."""

        def stopped(present: Deployment) -> Deployment:
            _not_leaving(present)
            if present.intent is Intent.STOP:
                return present
            return replace(self._wish(present, Intent.STOP, "stop requested", by), restart_requested=False)

        return await self._apply(deployment_id, stopped, "stop_requested", "stop requested", by)

    async def restart(self, deployment_id: DeploymentId, *, by: str) -> Deployment:
        """Drain it, stop its engine and start a new one. After a stop it is the same as `start`."""

        def restarted(present: Deployment) -> Deployment:
            _not_leaving(present)
            return _restarted(present, self._wish(present, Intent.RUN, "restart requested", by))

        return await self._apply(deployment_id, restarted, "restart_requested", "restart requested", by)

    async def remove(self, deployment_id: DeploymentId, *, by: str) -> Deployment:
        """Drain, stop and remove it. Its target wants one replica less then; the last one takes the target along.

        Raises `Conflict` for a deployment that comes from config.json."""
        present = self._registry.find(deployment_id)
        if present is None:
            raise NotFound(f"There is no deployment {deployment_id!r}.", fix="`modelgrid ps` lists them.")
        if present.origin is Origin.CONFIG:
            raise Conflict(
                f"{deployment_id} comes from `containers` in config.json; it can only be started and stopped here.",
                fix="Stop it, or take it out of config.json; the daemon follows it.",
                origin=present.origin.value,
            )
        if present.intent is Intent.REMOVE:
            return present

        def leaving(current: Deployment) -> Deployment:
            if current.intent is Intent.REMOVE:
                return current
            return replace(self._wish(current, Intent.REMOVE, "remove requested", by), restart_requested=False)

        async with self._targets.together:
            removed = await self._apply(deployment_id, leaving, "remove_requested", "remove requested", by)
            failpoint("dismissed")
            target = self._targets.find(present.target)
            if target is not None and target.replicas > 1:
                await self._targets.scale(target.name, target.replicas - 1, by=by)
            elif target is not None:
                await self._targets.remove(target.name, by=by)
        return removed

    def _wish(self, present: Deployment, intent: Intent, reason: str, by: str) -> Deployment:
        return replace(
            present,
            intent=intent,
            intent_reason=f"{reason} by {by}",
            intent_by=by,
            intent_at=self._clock.now(),
            drain_started_at=None,
            stop_started_at=None,
        )

    async def _apply(
        self,
        deployment_id: DeploymentId,
        change: Callable[[Deployment], Deployment],
        kind: str,
        said: str,
        by: str,
    ) -> Deployment:
        event: Event = self._event(deployment_id, kind, f"{said} by {by}", by=by)
        return await self._registry.change(deployment_id, change, [event])


def _restarted(present: Deployment, wished: Deployment) -> Deployment:
    # Whoever was stopped gave its place away, and somebody else may have it: it has to be placed anew.
    keeps = present.intent is Intent.RUN or holds_place(present)
    return replace(
        wished,
        restart_requested=True,
        restarts_asked=present.restarts_asked + 1,
        placement=present.placement if keeps else None,
    )


def _not_leaving(present: Deployment) -> None:
    if present.intent is Intent.REMOVE:
        raise Conflict(f"{present.id} is being removed.", fix="Deploy the model again with `modelgrid run`.")
