"""Brings deployments in line with targets: asks `reconcile`, applies its effects, sleeps until facts change."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from modelgrid.decide.capacity import Capacity
from modelgrid.decide.effects import CreateDeployment, Effect, PlaceDeployment, RefuseDeployment, SetIntent
from modelgrid.decide.fit_rules import runtime_on
from modelgrid.decide.reconcile import reconcile
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.errors import ModelGridError, NotFound
from modelgrid.domain.event import Event, Level, Subject
from modelgrid.domain.ids import DeploymentId, NodeName, deployment_id
from modelgrid.domain.log import SCHEDULER
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.node import Node
from modelgrid.domain.placement import Decision, Placement
from modelgrid.domain.target import RuntimeKind, Target
from modelgrid.ports.clock import Clock
from modelgrid.ports.secrets import Secrets
from modelgrid.services.catalog import CatalogService
from modelgrid.services.events import EventMaker
from modelgrid.services.failpoints import failpoint
from modelgrid.services.pace import pause_after
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetService

SWEEP_SECONDS = 5.0
"""Longest time between two looks, should a change ever go unnoticed."""

log = structlog.get_logger(source=SCHEDULER)


class Reconciler:
    """The one that creates, places and dismisses deployments."""

    def __init__(
        self,
        *,
        registry: DeploymentRegistry,
        targets: TargetService,
        catalog: CatalogService,
        nodes: Callable[[], Sequence[Node]],
        default_runtime: RuntimeKind,
        clock: Clock,
        secrets: Secrets,
    ) -> None:
        self._registry = registry
        self._targets = targets
        self._catalog = catalog
        self._nodes = nodes
        self._default_runtime = default_runtime
        self._clock = clock
        self._secrets = secrets
        self._event = EventMaker(clock, Subject.DEPLOYMENT)
        self._woken = asyncio.Event()
        self._capacity = Capacity()
        self._pause = 0.0
        """Seconds to wait before the next pass."""
        self._here: dict[NodeName, Node] = {}
        """The nodes that the present pass decides about."""
        self.problem = ""
        """Why the last pass could not be finished; empty when it was."""

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Reconcile now, on each `wake`, and every `SWEEP_SECONDS`, until cancelled."""
        while True:
            self._woken.clear()
            try:
                await self.once()
                self.problem = ""
            except ModelGridError as error:
                if self.problem != error.message:
                    log.warning("reconciling stopped half-way; it is tried again", error=str(error))
                self.problem = error.message
                await self._clock.sleep(1.0)
            await self._clock.sleep(self._pause)
            try:
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def once(self) -> tuple[Effect, ...]:
        """Decide and apply once; return what was applied."""
        async with self._targets.together:
            began = self._clock.monotonic()
            effects = self.plan(self._targets.all())
            self._pause = pause_after(self._clock.monotonic() - began)
            self._here = {node.name: node for node in self._nodes()}
            for effect in effects:
                await self._apply(effect)
        return effects

    def plan(self, targets: Sequence[Target]) -> tuple[Effect, ...]:
        """Return what would be done if `targets` were desired. Changes nothing."""
        entries: dict[str, CatalogEntry] = {entry.id: entry for entry in self._catalog.entries}
        return reconcile(
            targets,
            self._registry.all(),
            self._nodes(),
            entries,
            self._default_runtime,
            self._clock.now(),
            self._capacity,
        )

    async def _apply(self, effect: Effect) -> None:
        try:
            match effect:
                case CreateDeployment():
                    await self._create(effect)
                case PlaceDeployment():
                    await self._place(effect.deployment_id, effect.decision)
                case RefuseDeployment():
                    await self._refuse(effect.deployment_id, effect.decision)
                case SetIntent():
                    await self._dismiss(effect)
        except NotFound:
            # It was archived between the decision and now; the next pass sees that.
            log.info("deployment is gone already", effect=type(effect).__name__)

    async def _create(self, effect: CreateDeployment) -> None:
        now = self._clock.now()
        new = Deployment(
            id=deployment_id(effect.target, self._secrets.integer(31)),
            target=effect.target,
            model=effect.model,
            origin=effect.origin,
            spec=effect.spec,
            runtime=effect.runtime,
            created_at=now,
        )
        decision = effect.decision
        new = self._placed(new, decision, now) if decision.placed else replace(new, refusal=decision)
        events = [self._event(new.id, "created", f"for target {new.target}"), self._landing(new.id, decision)]
        await self._registry.create(new, events)
        failpoint("created")
        log.info("deployment created", deployment=new.id, decision=decision.summary)

    async def _place(self, deployment: DeploymentId, decision: Decision) -> None:
        now = self._clock.now()
        found = await self._registry.change(
            deployment,
            lambda present: self._placed(present, decision, now) if _waits_for_a_place(present) else present,
            [self._landing(deployment, decision)],
        )
        if found.placement is not None and found.placement.placed_at == now:  # else it was stopped in between
            log.info("deployment placed", deployment=deployment, decision=decision.summary)

    async def _refuse(self, deployment: DeploymentId, decision: Decision) -> None:
        found = await self._registry.change(
            deployment,
            lambda present: replace(present, refusal=decision) if _waits_for_a_place(present) else present,
            [self._landing(deployment, decision)],
        )
        if found.refusal is decision:
            log.warning("deployment has no place", deployment=deployment, decision=decision.summary)

    async def _dismiss(self, effect: SetIntent) -> None:
        now = self._clock.now()
        await self._registry.change(
            effect.deployment_id,
            lambda present: (
                present
                if present.intent is Intent.REMOVE
                else replace(present, intent=effect.intent, intent_reason=effect.reason, intent_by="", intent_at=now)
            ),
            [self._event(effect.deployment_id, f"{effect.intent}_decided", effect.reason)],
        )
        failpoint("dismissal_decided")
        log.info("deployment dismissed", deployment=effect.deployment_id, reason=effect.reason)

    def _placed(self, deployment: Deployment, decision: Decision, now: float) -> Deployment:
        node = self._here.get(decision.node) if decision.node is not None else None
        runtime = runtime_on(deployment.spec, node, self._default_runtime) if node is not None else deployment.runtime
        return _placed(deployment, decision, now, runtime)

    def _landing(self, deployment: str, decision: Decision) -> Event:
        if decision.placed:
            return self._event(deployment, "scheduled", decision.summary)
        reasons: Mapping[str, str] = {
            f"{verdict.node} {verdict.gpu or ''}".strip(): verdict.reason for verdict in decision.verdicts
        }
        return self._event(deployment, "unplaced", decision.summary, level=Level.WARNING, verdicts=reasons)


def _waits_for_a_place(deployment: Deployment) -> bool:
    return deployment.intent is Intent.RUN and deployment.placement is None


def _placed(deployment: Deployment, decision: Decision, now: float, runtime: RuntimeKind) -> Deployment:
    if decision.node is None:
        raise AssertionError("a decision without a node places nothing")
    epoch = max(deployment.placements, deployment.placement.epoch if deployment.placement else 0) + 1
    placement = Placement(node=decision.node, gpus=decision.gpus, decision=decision, placed_at=now, epoch=epoch)
    return replace(
        deployment, runtime=runtime, placement=placement, placements=epoch, refusal=None, engine_gone_at=None
    )
