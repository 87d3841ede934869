"""What `reconcile` asks for. Data only: whoever applies them is the one writer of deployments.

Applying is a compare-and-change against the present facts, because they may have moved since the decision:
an effect whose condition (said at each) no longer holds is dropped, and the next pass decides anew.
"""

from dataclasses import dataclass

from modelgrid.domain.deployment import Intent
from modelgrid.domain.ids import DeploymentId, ModelId
from modelgrid.domain.placement import Decision
from modelgrid.domain.target import EngineSpec, Origin, RuntimeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateDeployment:
    """One more instance of a target: placed when the decision is, otherwise pending with it as its refusal."""

    target: str
    decision: Decision
    origin: Origin
    model: ModelId
    spec: EngineSpec
    runtime: RuntimeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceDeployment:
    """A pending instance has a place now. Holds while its intent is RUN and it has no placement."""

    deployment_id: DeploymentId
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseDeployment:
    """A pending instance stays without a place, for reasons other than those stored. Same condition."""

    deployment_id: DeploymentId
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class SetIntent:
    """Holds while the intent is not REMOVE."""

    deployment_id: DeploymentId
    intent: Intent
    reason: str


Effect = CreateDeployment | PlaceDeployment | RefuseDeployment | SetIntent
