"""Whether the fleet is well: one ordered table of rules over its facts. Console, command line and scripts show its
verdict, and each reason names what is wrong, what that means, since when, and where to look."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote

from modelgrid.decide.classify import classify, serves
from modelgrid.decide.gpu_health import FaultSeverity, gpu_faults
from modelgrid.domain.deployment import Deployment, DeploymentState, Intent
from modelgrid.domain.ids import NodeName
from modelgrid.domain.node import Node, NodeLiveness
from modelgrid.domain.target import Target
from modelgrid.domain.units import format_bytes

PENDING_SECONDS = 60.0
"""A deployment that has no place for so long needs somebody; one that was refused does at once."""
SETTLING_SECONDS = 15.0
"""After the start of control, gateways may not have reported yet."""
LEAST_DISK_FREE = 0.05


class Word(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"


class Severity(StrEnum):
    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"
    """Worth knowing; changes no verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    code: str
    """Stable word."""
    severity: Severity
    cause: str
    impact: str
    since: float | None = None
    """As the facts tell; where they do not, since control saw it first, which begins anew when control starts."""
    subject: str
    """What it is about: the name of a node, a deployment, a target, a source of the catalog, or a part of
    the daemon."""
    link: str
    """Path in the console where it is mended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFacts:
    nodes: tuple[Node, ...]
    targets: tuple[Target, ...]
    deployments: tuple[Deployment, ...]
    gateways: int
    """That report now."""
    gateways_wanted: int
    problems: tuple[str, ...] = ()
    """What the configuration or the environment asks for and cannot be had."""
    log_problem: str = ""
    catalog_problems: Mapping[str, str] = field(default_factory=dict)
    """By the name of the source."""
    disk_free_bytes: int = 0
    disk_total_bytes: int = 0
    """Of the state directory's file system; 0: not known."""
    served_elsewhere: bool = False
    """A model is served by nodes that are not among these: on a worker, which knows of them by its control plane."""
    started_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetVerdict:
    word: Word
    sentence: str
    reasons: tuple[Reason, ...]
    """Worst first."""


def _gateways(facts: FleetFacts, now: float) -> Iterator[Reason]:
    if facts.gateways >= facts.gateways_wanted or now - facts.started_at < SETTLING_SECONDS:
        return
    none = facts.gateways == 0
    yield Reason(
        code="no_gateway" if none else "gateway_missing",
        severity=Severity.CRITICAL if none else Severity.WARNING,
        cause=f"{facts.gateways} of {facts.gateways_wanted} gateway processes report.",
        impact="Requests may not be served." if none else "Fewer requests can be served.",
        subject="gateway",
        link="/logs?source=gateway",
    )


def _nodes(facts: FleetFacts, now: float) -> Iterator[Reason]:
    del now
    for node in facts.nodes:
        if node.liveness is not NodeLiveness.READY:
            lost = node.liveness is NodeLiveness.LOST
            yield Reason(
                code=f"node_{node.liveness.value}",
                severity=Severity.CRITICAL if lost else Severity.WARNING,
                cause=f"{node.name} does not report.",
                impact="What ran there is taken as gone." if lost else "Nothing new is placed there.",
                since=node.heartbeat_at,
                subject=node.name,
                link=f"/cluster/nodes?q={quote(node.name)}",
            )
        if node.inventory.stale or node.inventory.problem:
            yield Reason(
                code="gpus_stale" if node.inventory.stale else "gpus_problem",
                severity=Severity.WARNING,
                cause=f"{node.name}: {node.inventory.problem or 'the GPUs are not read.'}",
                impact="Placements go on with old readings." if node.inventory.stale else "GPUs may be missing.",
                since=node.inventory.taken_at if node.inventory.stale else None,
                subject=node.name,
                link=f"/gpus/devices?q={quote(node.name)}",
            )


def _gpus(facts: FleetFacts, now: float) -> Iterator[Reason]:
    del now
    for node in facts.nodes:
        for gpu in node.inventory.gpus:
            for fault in gpu_faults(gpu):
                yield Reason(
                    code="gpu_throttled" if fault.severity is FaultSeverity.WARNING else "gpu_fault",
                    severity=Severity(fault.severity.value),
                    cause=f"{gpu.id} of {node.name} {fault.what}.",
                    impact=fault.impact,
                    subject=f"{node.name}/{gpu.id}",
                    link=f"/gpus/devices?q={quote(f'{node.name}/{gpu.id}', safe='')}",
                )


_TRIES = (DeploymentState.RESTARTING, DeploymentState.PULLING, DeploymentState.STARTING)
"""With failures before it each of them is another try, not the first start."""
_CODES = {
    DeploymentState.FAILED: ("failed", "has failed"),
    DeploymentState.RUNNING: ("unhealthy", "is unhealthy"),
    DeploymentState.PULLING: ("restarting", "is being started again"),
    DeploymentState.STARTING: ("restarting", "is being started again"),
}
"""What a state is called among the reasons, where that is not its own name, and in a sentence."""


def _deployments(facts: FleetFacts, now: float) -> Iterator[Reason]:
    rest = [(item, classify(item, now)) for item in facts.deployments if not serves(item)]
    serving = {item.target for item in facts.deployments if serves(item)}
    serving |= {item.target for item, found in rest if found.state is DeploymentState.RUNNING}
    none_answers = not _any_answers(facts)
    for item, found in rest:
        state, reason = found.state, found.reason
        since = item.failures[-1].exit.at if item.failures else None
        if state is DeploymentState.FAILED:
            severity = Severity.WARNING if item.target in serving else Severity.CRITICAL
        elif state in _TRIES and item.failures:
            severity = Severity.WARNING
        elif state is DeploymentState.PENDING and (item.refusal or now - item.created_at > PENDING_SECONDS):
            severity, since = Severity.WARNING, item.created_at
        elif state is DeploymentState.RUNNING and item.unhealthy_since is not None:
            severity, since = Severity.WARNING, item.unhealthy_since
        else:
            continue
        code, said = _CODES.get(state, (state.value, f"is {state.value}"))
        others = item.target in serving and state is not DeploymentState.RUNNING
        yield Reason(
            code=f"deployment_{code}",
            severity=Severity.CRITICAL if none_answers else severity,
            cause=f"{item.id} {said}: {reason}",
            impact=f"{item.model} has fewer replicas." if others else f"{item.model} may not be served.",
            since=since,
            subject=item.id,
            link=f"/deployments/active?state={state.value}&open={quote(item.id)}",
        )


def _targets(facts: FleetFacts, now: float) -> Iterator[Reason]:
    kept = _kept(facts)
    none_answers = not _any_answers(facts)
    for target in facts.targets:
        own = kept[target.name]
        if own < target.replicas and now - target.updated_at > PENDING_SECONDS:
            yield Reason(
                code="target_short",
                severity=Severity.CRITICAL if none_answers else Severity.WARNING,
                cause=f"{target.name} has {own} of {target.replicas} replicas.",
                impact=f"{target.model} has fewer replicas than desired.",
                subject=target.name,
                link=f"/cluster/desired?q={quote(target.name)}",
            )


def _daemon(facts: FleetFacts, now: float) -> Iterator[Reason]:
    del now
    if facts.disk_total_bytes and facts.disk_free_bytes < LEAST_DISK_FREE * facts.disk_total_bytes:
        yield Reason(
            code="disk_nearly_full",
            severity=Severity.WARNING,
            cause=f"{format_bytes(facts.disk_free_bytes)} are free where the state is kept.",
            impact="When it is full, nothing can be changed.",
            subject="disk",
            link="/overview/configuration",
        )
    if facts.log_problem:
        yield Reason(
            code="log_not_kept",
            severity=Severity.WARNING,
            cause=facts.log_problem,
            impact="What is logged now is lost with a restart.",
            subject="log",
            link="/logs",
        )
    for problem in facts.problems:
        yield Reason(
            code="not_as_configured",
            severity=Severity.WARNING,
            cause=problem,
            impact="The daemon runs without it.",
            subject="configuration",
            link="/settings",
        )


def _catalog(facts: FleetFacts, now: float) -> Iterator[Reason]:
    del now
    for source, problem in facts.catalog_problems.items():
        yield Reason(
            code="catalog_unreachable",
            severity=Severity.NOTE,
            cause=problem,
            impact="The last good copy stays in use.",
            subject=source,
            link="/models/catalog",
        )


_RULES: tuple[Callable[[FleetFacts, float], Iterator[Reason]], ...] = (
    _gateways,
    _nodes,
    _gpus,
    _deployments,
    _targets,
    _daemon,
    _catalog,
)
"""In this order among reasons of one severity."""
_SEVERITIES = tuple(Severity)


def judge(facts: FleetFacts, now: float) -> FleetVerdict:
    """Return whether the fleet is well, and every reason why not, worst first.

    Unknown when no node can be seen; down when no gateway reports, or something is to run, something is wrong with it
    and no model is answered; degraded when anything else needs somebody. A first start is nothing wrong, nor is what
    was stopped or started anew on purpose."""
    found = [reason for rule in _RULES for reason in rule(facts, now)]
    found.sort(key=lambda reason: _SEVERITIES.index(reason.severity))
    word = _word(facts, found, now)
    bad = sum(reason.severity is not Severity.NOTE for reason in found)
    said = {
        Word.HEALTHY: "All is well.",
        Word.DEGRADED: f"{bad} {'thing needs' if bad == 1 else 'things need'} attention.",
        Word.DOWN: "Requests are not served.",
        Word.UNKNOWN: "No node can be seen.",
    }[word]
    return FleetVerdict(word=word, sentence=f"{word.value.capitalize()}: {said}", reasons=tuple(found))


def _word(facts: FleetFacts, reasons: list[Reason], now: float) -> Word:
    if all(node.liveness is NodeLiveness.LOST for node in facts.nodes):
        return Word.UNKNOWN
    if any(reason.code == "no_gateway" for reason in reasons) or _nothing_is_answered(facts, reasons):
        return Word.DOWN
    return Word.DEGRADED if any(reason.severity is not Severity.NOTE for reason in reasons) else Word.HEALTHY


def _nothing_is_answered(facts: FleetFacts, reasons: Iterable[Reason]) -> bool:
    """Whether something is to run, no model is answered, and that is not because everything starts for the first time:
    something has gone wrong with what is to run, or what ran is gone with its node."""
    if _any_answers(facts):
        return False
    if any(reason.code == "target_short" or reason.code.startswith("deployment_") for reason in reasons):
        return True
    lost = _lost(facts)
    return _anything_is_to_run(facts) and any(
        item.ready_at is not None and item.placement is not None and item.placement.node in lost
        for item in facts.deployments
    )


def _any_answers(facts: FleetFacts) -> bool:
    lost = _lost(facts)
    return facts.served_elsewhere or any(
        serves(item) and item.placement is not None and item.placement.node not in lost for item in facts.deployments
    )


def _anything_is_to_run(facts: FleetFacts) -> bool:
    kept = _kept(facts)
    return any(item.intent is Intent.RUN for item in facts.deployments) or any(
        kept[target.name] < target.replicas for target in facts.targets
    )


def _kept(facts: FleetFacts) -> Counter[str]:
    """Return how many deployments count as replicas of each target; one that was stopped does."""
    return Counter(item.target for item in facts.deployments if item.intent is not Intent.REMOVE)


def _lost(facts: FleetFacts) -> set[NodeName]:
    return {node.name for node in facts.nodes if node.liveness is NodeLiveness.LOST}
