"""When a failed engine is tried again, and when it is given up."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from modelgrid.domain.deployment import Deployment, Failure
from modelgrid.domain.target import RuntimeKind

FIRST_DELAY_SECONDS = 2.0
LONGEST_DELAY_SECONDS = 300.0
JITTER = 0.2
"""Delays vary by ± this share, so that deployments that failed together do not start together."""
GIVE_UP_AFTER = 8
"""Failures in a row, about ten minutes of tries."""
EXTERNAL_DELAY_SECONDS = 5.0
STABLE_SECONDS = 300.0
"""An engine that answered this long clears the failures before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """`at` is when to try again; `None` when it was given up, and `reason` says why."""

    at: float | None
    reason: str


def restart(deployment: Deployment) -> Restart:
    """Decide after the last of the deployment's failures, of which there must be one.

    The jitter depends on the deployment's id. An engine that somebody else runs is looked for for ever.
    """
    failures, seed = deployment.failures, deployment.id
    last = failures[-1]
    if deployment.runtime is RuntimeKind.EXTERNAL:
        return Restart(at=last.exit.at + EXTERNAL_DELAY_SECONDS, reason="looked for again")
    if last.diagnosis is not None and not last.diagnosis.retry:
        return Restart(at=None, reason=f"given up: {last.diagnosis.cause}")
    if len(failures) >= GIVE_UP_AFTER:
        return Restart(at=None, reason=f"given up after {len(failures)} failed starts in a row")
    delay = min(FIRST_DELAY_SECONDS * 2.0 ** (len(failures) - 1), LONGEST_DELAY_SECONDS)
    at = last.exit.at + min(delay * (1 + JITTER * _spread(seed, len(failures))), LONGEST_DELAY_SECONDS)
    return Restart(at=at, reason=f"try {len(failures) + 1} of {GIVE_UP_AFTER}")


def failures_after(failures: Sequence[Failure], new: Failure, ready_at: float | None) -> tuple[Failure, ...]:
    """Return the failures that count after `new`; a stable run before it clears the earlier ones."""
    stable = ready_at is not None and new.exit.at - ready_at >= STABLE_SECONDS
    return (new,) if stable else (*failures, new)


def _spread(seed: str, count: int) -> float:
    """Return a number in [-1, 1] that depends only on the arguments."""
    digest = blake2b(f"{seed}:{count}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / (2**31) - 1
