"""What is known of a deployment only while the daemon runs: progress, and readings that are not worth storing."""

from dataclasses import dataclass

from modelgrid.domain.engine import PullProgress
from modelgrid.domain.ids import DeploymentId


@dataclass(slots=True, kw_only=True)
class Live:
    """Written by the deployment's keeper only."""

    pull: PullProgress | None = None
    phase: str = ""
    """What the engine says it does while it loads."""
    trouble: str = ""
    """Why the engine's state is not known at present, for example that Docker does not answer."""
    trouble_since: float | None = None
    not_ready_because: str = ""


class LiveFacts:
    def __init__(self) -> None:
        self._facts: dict[DeploymentId, Live] = {}

    def of(self, deployment: DeploymentId) -> Live:
        return self._facts.setdefault(deployment, Live())

    def forget(self, deployment: DeploymentId) -> None:
        self._facts.pop(deployment, None)
