"""Deployments: facts only. The state is derived from them by `decide.classify`, never stored beside them."""

from dataclasses import dataclass, field
from enum import StrEnum

from modelgrid.domain.engine import EngineExit, EngineRef
from modelgrid.domain.ids import DeploymentId, ModelId
from modelgrid.domain.placement import Decision, Placement
from modelgrid.domain.target import EngineSpec, Origin, RuntimeKind


class DeploymentState(StrEnum):
    PENDING = "pending"
    PULLING = "pulling"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"
    STOPPED = "stopped"
    RESTARTING = "restarting"
    FAILED = "failed"


class Intent(StrEnum):
    """What is wanted of a deployment."""

    RUN = "run"
    STOP = "stop"
    """Drain, stop the engine, keep the row; `start` brings it back. It still counts as one of its replicas."""
    REMOVE = "remove"
    """Drain, stop, remove the engine and move the row to history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """A known failure: its cause and what mends it."""

    code: str
    """Stable word, for example `gpu_out_of_memory`."""
    cause: str
    remedy: str
    evidence: str = ""
    """The log line or message that told it."""
    retry: bool = True
    """Whether trying again as-is can help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt to run the engine."""

    attempt: int
    exit: EngineExit
    diagnosis: Diagnosis | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One vLLM instance of a target on one node."""

    id: DeploymentId
    target: str
    model: ModelId
    origin: Origin
    spec: EngineSpec = field(default_factory=EngineSpec)
    runtime: RuntimeKind
    created_at: float

    intent: Intent = Intent.RUN
    intent_reason: str = ""
    intent_by: str = ""
    intent_at: float = 0.0

    restart_requested: bool = False
    """Somebody asked for a new start, whatever the engine does now."""
    restarts_asked: int = 0
    """How often that was, over the whole life: so that a node which hears of it late, or twice, restarts once."""

    placement: Placement | None = None
    placements: int = 0
    """How often it was placed, over the whole life: epochs of placements never repeat."""
    refusal: Decision | None = None
    """Why it could not be placed when it was last tried; a pending deployment always says why."""

    attempt: int = 0
    """Starts so far, over the whole life. The attempt under way, or the last one."""
    port: int | None = None
    engine: EngineRef | None = None
    pull_started_at: float | None = None
    pulled_at: float | None = None
    started_at: float | None = None
    """The engine of this attempt was started."""
    ready_at: float | None = None
    """It answered health and one real token."""
    unhealthy_since: float | None = None
    """It was ready and does not answer any more."""
    failures: tuple[Failure, ...] = ()
    """Failed attempts since the last time it ran stably, oldest first."""
    drain_started_at: float | None = None
    stop_started_at: float | None = None
    """Draining ended and the engine was asked to stop."""
    engine_gone_at: float | None = None
    """The engine was confirmed to be gone after a stop; `engine` is `None` from then on."""
    removed_at: float | None = None
    revision: int = 0
