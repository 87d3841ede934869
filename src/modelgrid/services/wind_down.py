"""The steps towards the end of an engine: let its requests finish, stop it, move the deployment to history."""

from dataclasses import replace

from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.engine import EngineRef
from modelgrid.services.failpoints import failpoint
from modelgrid.services.kept import Kept

DRAIN_SECONDS = 30.0
STOP_GRACE_SECONDS = 20.0
DRAIN_POLL_SECONDS = 0.1


async def drain(kept: Kept, deployment: Deployment, until: float) -> None:
    now = kept.tools.clock.now()
    if deployment.drain_started_at is None:
        await kept.change(
            lambda d: replace(d, drain_started_at=now),
            kept.event("draining", "no new requests; running ones finish"),
        )
    while kept.tools.clock.now() < until and kept.tools.in_flight(kept.id) != 0:
        await kept.tools.clock.sleep(DRAIN_POLL_SECONDS)
    now = kept.tools.clock.now()
    left = kept.tools.in_flight(kept.id)
    said = "all requests finished" if left == 0 else f"{left if left is not None else 'some'} requests cut off"
    await kept.change(lambda d: replace(d, stop_started_at=now), kept.event("drained", said))


async def stop(kept: Kept, deployment: Deployment) -> None:
    """End and remove the engine, also one that was started and not recorded; then it is on record to be gone."""
    if deployment.stop_started_at is None:
        now = kept.tools.clock.now()
        deployment = await kept.change(lambda d: replace(d, stop_started_at=now))
    ref = deployment.engine or await _unrecorded(kept, deployment)
    if ref is not None:
        runtime = kept.runtime(deployment)
        kept.follow(runtime, ref)
        grace = kept.tools.stop_grace(kept.id)
        await runtime.stop(ref, STOP_GRACE_SECONDS if grace is None else min(grace, STOP_GRACE_SECONDS))
        failpoint("stopped")
        await kept.hear_last_lines()
        if not deployment.restart_requested or deployment.intent is not Intent.RUN:
            await kept.keep_last_lines(_without_engine(deployment, kept.tools.clock.now()), deployment.intent_reason)
        await runtime.remove(ref)
        failpoint("engine_removed")
    now = kept.tools.clock.now()
    await kept.change(
        lambda d: _without_engine(d, now),
        kept.event("stopped", deployment.intent_reason or "stopped", by=deployment.intent_by),
    )
    kept.tools.engine_gone()


def _without_engine(deployment: Deployment, now: float) -> Deployment:
    return replace(
        deployment,
        engine=None,
        engine_gone_at=now,
        ready_at=None,
        started_at=None,
        port=None,
        unhealthy_since=None,
    )


async def _unrecorded(kept: Kept, deployment: Deployment) -> EngineRef | None:
    """Return the engine of a start that was cut off. Before the program was there nothing can have been started."""
    if deployment.pulled_at is None:
        return None
    return next((ref for ref in await kept.runtime(deployment).find() if ref.deployment == kept.id), None)


async def archive(kept: Kept, deployment: Deployment) -> None:
    now = kept.tools.clock.now()
    record = kept.record(replace(deployment, removed_at=now), deployment.intent_reason)
    await kept.tools.registry.archive(
        record, events=kept.event("removed", deployment.intent_reason or "removed", by=deployment.intent_by)
    )
    failpoint("archived")
    kept.log.forget()
    kept.tools.live.forget(kept.id)
