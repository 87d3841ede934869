"""What a wish would lead to, decided by the same functions that will decide it for real."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from modelgrid.decide.effects import CreateDeployment
from modelgrid.decide.reconcile import reconcile
from modelgrid.domain.node import Node
from modelgrid.domain.placement import Decision
from modelgrid.domain.target import Origin, RuntimeKind, Target
from modelgrid.ports.clock import Clock
from modelgrid.services.catalog import CatalogService
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetRequest, TargetService


class PreviewService:
    def __init__(
        self,
        *,
        registry: DeploymentRegistry,
        targets: TargetService,
        catalog: CatalogService,
        nodes: Callable[[], Sequence[Node]],
        default_runtime: RuntimeKind,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._targets = targets
        self._catalog = catalog
        self._nodes = nodes
        self._default_runtime = default_runtime
        self._clock = clock

    async def decisions(self, request: TargetRequest) -> tuple[Decision, ...]:
        """Return the decision of each deployment that the wish would create. Changes nothing.

        Raises what `TargetService.ensure` would raise for it."""
        entry = self._targets.entry_of(request.model)
        await self._targets.check(request)
        now = self._clock.now()
        present = next((item for item in self._targets.all() if item.name == entry.id), None)
        # Sealed values differ at each sealing: an unchanged environment must not look like a change here.
        env = present.spec.env if present else request.spec.env
        wish = Target(
            name=entry.id,
            model=entry.id,
            replicas=request.replicas,
            origin=Origin.API,
            spec=replace(request.spec, env=env),
            constraints=request.constraints,
            created_at=now,
            updated_at=now,
        )
        others = [target for target in self._targets.all() if target.name != entry.id]
        effects = reconcile(
            [*others, wish],
            self._registry.all(),
            self._nodes(),
            {item.id: item for item in self._catalog.entries},
            self._default_runtime,
            now,
        )
        return tuple(
            effect.decision for effect in effects if isinstance(effect, CreateDeployment) and effect.target == wish.name
        )
