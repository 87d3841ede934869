"""How orders become a node's own rows, and how a node's facts come back into the control plane's. Pure.

A deployment has two owners once it is placed on another node. What is *wanted* of it (intent, placement, restarts) is
the control plane's; what has *become* of it (attempts, engine, readiness, failures) is the node's. Each side takes over
what the other owns and never what it owns itself, so messages may be lost, repeated and late.

Placements carry an epoch: facts of an earlier placement say nothing about the present one, and an order of an earlier
placement is not obeyed any more.
"""

from dataclasses import fields, replace

from modelgrid.domain.cluster import Order
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.placement import Decision, MemoryNeed
from modelgrid.domain.target import EngineSpec

FACTS = (
    "attempt",
    "port",
    "engine",
    "pull_started_at",
    "pulled_at",
    "started_at",
    "ready_at",
    "unhealthy_since",
    "failures",
    "drain_started_at",
    "stop_started_at",
    "engine_gone_at",
)
"""Fields of a deployment that its node owns. All others are the control plane's, but for the two of a restart, which
travel both ways: asked there, answered here."""

_WISHES = ("intent", "intent_reason", "intent_by", "intent_at")


def order_of(deployment: Deployment, spec: EngineSpec, *, exclusive: bool, entry: object = None) -> Order:
    """Return what is wanted of a placed deployment. `spec` is its own with open environment values, `entry` the catalog
    entry of its model (`CatalogEntry | None`)."""
    placement = deployment.placement
    if placement is None:
        raise AssertionError(f"{deployment.id} has no place, and is ordered somewhere")
    return Order(
        id=deployment.id,
        target=deployment.target,
        model=deployment.model,
        origin=deployment.origin,
        spec=spec,
        runtime=deployment.runtime,
        created_at=deployment.created_at,
        intent=deployment.intent,
        intent_reason=deployment.intent_reason,
        intent_by=deployment.intent_by,
        intent_at=deployment.intent_at,
        restarts_asked=deployment.restarts_asked,
        placement=placement,
        exclusive=exclusive,
        entry=entry,  # type: ignore[arg-type]
    )


def accepted(order: Order, sealed: EngineSpec) -> Deployment:
    """Return the row of an order that the node has not had so far. `sealed` is its specification as it is stored."""
    return Deployment(
        id=order.id,
        target=order.target,
        model=order.model,
        origin=order.origin,
        spec=sealed,
        runtime=order.runtime,
        created_at=order.created_at,
        intent=order.intent,
        intent_reason=order.intent_reason,
        intent_by=order.intent_by,
        intent_at=order.intent_at,
        restarts_asked=order.restarts_asked,
        placement=order.placement,
    )


def obeyed(present: Deployment, order: Order) -> Deployment:
    """Return the row as an order wants it. Repeating it changes nothing; an earlier placement is void."""
    held = present.placement
    if held is not None and held.epoch > order.placement.epoch:
        return present
    # What ended here, also by this node's own decision, needs a new start to run again.
    asked = order.restarts_asked > present.restarts_asked or present.intent is not Intent.RUN
    restart = asked and order.intent is Intent.RUN
    wished = order.intent is not present.intent or restart
    changed = replace(
        present,
        placement=order.placement if held is None or held.epoch < order.placement.epoch else held,
        restarts_asked=max(present.restarts_asked, order.restarts_asked),
        restart_requested=restart or (present.restart_requested and order.intent is Intent.RUN),
        **{name: getattr(order, name) for name in _WISHES},
    )
    return replace(changed, drain_started_at=None, stop_started_at=None) if wished else changed


def dismissed(present: Deployment, reason: str, now: float) -> Deployment:
    """Return the row of a deployment that is not wanted here any more."""
    if present.intent is Intent.REMOVE:
        return present
    return replace(
        present,
        intent=Intent.REMOVE,
        intent_reason=reason,
        intent_by="",
        intent_at=now,
        restart_requested=False,
        drain_started_at=None,
        stop_started_at=None,
    )


def fenced(present: Deployment, reason: str, now: float) -> Deployment:
    """Return the row of a deployment whose engine has to end at once, without draining, and is kept for the case that
    the control plane orders it again. One that is ending already ends faster."""
    if present.intent is not Intent.RUN:
        hurried = present.engine is not None and present.stop_started_at is None
        return replace(present, drain_started_at=now, stop_started_at=now) if hurried else present
    return replace(
        present,
        intent=Intent.STOP,
        intent_reason=reason,
        intent_by="",
        intent_at=now,
        restart_requested=False,
        drain_started_at=now,
        stop_started_at=now,
    )


def informed(row: Deployment, reported: Deployment) -> Deployment:
    """Return the control plane's row with what its node says has become of it: the row itself where that is nothing
    new, as in most heartbeats. Facts of another placement are none."""
    mine, theirs = row.placement, reported.placement
    if mine is None or theirs is None or (mine.node, mine.epoch) != (theirs.node, theirs.epoch):
        return row
    news = {name: said for name in FACTS if (said := getattr(reported, name)) != getattr(row, name)}
    if reported.restarts_asked >= row.restarts_asked and reported.restart_requested != row.restart_requested:
        news["restart_requested"] = reported.restart_requested
    return replace(row, **news) if news else row


def told(row: Deployment) -> Deployment:
    """Return what a node says of a deployment that its control plane has ordered: not what that has said itself, of
    which the decision alone, with what it says of every GPU of the cluster, would be nine tenths of a report."""
    place = replace(row.placement, decision=_UNSAID) if row.placement is not None else None
    return replace(row, spec=EngineSpec(), placement=place, refusal=None)


_UNSAID = Decision(need=MemoryNeed(gpu_count=0, terms=()), summary="")
_OWNED = {*FACTS, *_WISHES, "restart_requested", "restarts_asked", "placement"}
_FIXED = {"id", "target", "model", "origin", "spec", "runtime", "created_at"}
_OTHER = {"placements", "refusal", "removed_at", "revision"}
if {field.name for field in fields(Deployment)} != _OWNED | _FIXED | _OTHER:  # a new field needs an owner
    raise AssertionError("decide.assignment does not say who owns each field of a deployment")
