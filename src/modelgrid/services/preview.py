"""What a wish would lead to, decided by the same functions that will decide it for real."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from modelgrid.decide.effects import CreateDeployment, Effect
from modelgrid.domain.placement import Decision
from modelgrid.domain.target import Origin, Target
from modelgrid.ports.clock import Clock
from modelgrid.services.targets import TargetRequest, TargetService


class PreviewService:
    """`plan` is the reconciler's: it says what would be done if these targets were desired."""

    def __init__(
        self, targets: TargetService, plan: Callable[[Sequence[Target]], tuple[Effect, ...]], clock: Clock
    ) -> None:
        self._targets = targets
        self._plan = plan
        self._clock = clock

    async def decisions(self, request: TargetRequest) -> tuple[Decision, ...]:
        """Return the decision of each deployment that the wish would create. Changes nothing.

        Raises what `TargetService.ensure` would raise for it."""
        entry = self._targets.entry_of(request.model)
        await self._targets.check(request)
        now = self._clock.now()
        present = self._targets.find(entry.id)
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
        effects = self._plan([*others, wish])
        return tuple(
            effect.decision for effect in effects if isinstance(effect, CreateDeployment) and effect.target == wish.name
        )
