"""Whether a node may be taken into the cluster. Ordered rules, the first that applies says why not. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from modelgrid.decide.version_skew import skew
from modelgrid.domain.cluster import JoinRequest, JoinToken, Member
from modelgrid.domain.ids import NodeName
from modelgrid.domain.units import format_duration

LARGEST_SKEW_SECONDS = 60.0
"""By which a node's clock may differ from the control plane's. Times of events, readiness and readings come from
different machines; a minute still sorts them as people saw them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRefusal:
    reason: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    request: JoinRequest
    known: Member | None
    local: NodeName
    version: str
    now: float

    @property
    def skew(self) -> float:
        return self.request.at - self.now


@dataclass(frozen=True, slots=True)
class _Rule:
    applies: Callable[[_Case], bool]
    reason: Callable[[_Case], str]
    fix: str


def clock_problem(skew_seconds: float) -> str:
    """Return what is wrong with a clock that is `skew_seconds` ahead of the control plane's, or nothing."""
    if abs(skew_seconds) <= LARGEST_SKEW_SECONDS:
        return ""
    side = "ahead of" if skew_seconds > 0 else "behind"
    return f"its clock is {format_duration(abs(skew_seconds))} {side} the control plane's"


_RULES = (
    _Rule(
        lambda case: case.request.name == case.local,
        lambda case: f"The control plane itself is called {case.local!r}.",
        "Give the node another `nodeName` in its config.json.",
    ),
    _Rule(
        lambda case: case.known is not None and case.known.certificate != case.request.certificate,
        lambda case: f"Another node called {case.request.name!r} belongs to the cluster already.",
        "Give this one another `nodeName` in its config.json, or remove the other with `modelgrid cluster remove`.",
    ),
    _Rule(
        lambda case: not skew(case.version, case.request.version).ok,
        lambda case: skew(case.version, case.request.version).note,
        "",
    ),
    _Rule(
        lambda case: bool(clock_problem(case.skew)),
        lambda case: f"The node cannot join: {clock_problem(case.skew)}.",
        "Set the clocks of both with NTP (`timedatectl set-ntp true`), then join again.",
    ),
)


ANOTHER = "make another with Cluster ▸ Nodes ▸ Add node or `modelgrid cluster invite`"


def good_invitation(token: JoinToken | None, now: float) -> JoinToken | JoinRefusal:
    """Return an invitation that lets a node in, or why it does not. `token` is the one with the digest of what somebody
    showed: who showed none that was ever made hears nothing of those that were."""
    if token is None:
        return JoinRefusal(
            reason="The invitation is not known here.",
            fix=f"Copy all of it, and use it at the control plane that made it; or {ANOTHER}.",
        )
    if token.used_at is not None:
        return JoinRefusal(
            reason="The invitation was used already.",
            fix=f"Each lets one node in: {ANOTHER}, and remove a node that came in by it and is none of yours.",
        )
    if token.expires_at <= now:
        return JoinRefusal(
            reason=f"The invitation expired {format_duration(now - token.expires_at)} ago.",
            fix=f"Each is good for {format_duration(token.expires_at - token.created_at)}: {ANOTHER}.",
        )
    return token


def refusal_of(
    request: JoinRequest, known: Member | None, *, local: NodeName, version: str, now: float
) -> JoinRefusal | None:
    """Return why a node is not taken in; `None` when it is. `known` is the member of the same name: the same machine,
    by its certificate, may join again."""
    case = _Case(request=request, known=known, local=local, version=version, now=now)
    for rule in _RULES:
        if rule.applies(case):
            return JoinRefusal(reason=rule.reason(case), fix=rule.fix)
    return None
