"""The step of a running engine: notice its exit, and its silence."""

import asyncio
from contextlib import suppress
from dataclasses import replace

from modelgrid.domain.deployment import Deployment
from modelgrid.domain.errors import RuntimeUnavailable
from modelgrid.domain.event import Level
from modelgrid.domain.target import RuntimeKind
from modelgrid.domain.units import format_duration
from modelgrid.services.ending import end
from modelgrid.services.failures import exited, kill_hung
from modelgrid.services.kept import Kept

HEALTH_POLL_SECONDS = 5.0
SILENT_POLL_SECONDS = 1.0
UNHEALTHY_AFTER = 3
"""Health checks missed in a row before requests are sent elsewhere."""
HUNG_SECONDS = 120.0
"""Silence after which a running engine is killed and started anew."""


async def watch(kept: Kept, deployment: Deployment) -> None:
    """Return when the engine ended or was killed for its silence; the failure is recorded then."""
    ref, runtime = kept.engine(deployment), kept.runtime(deployment)
    kept.follow(runtime, ref)
    ended = asyncio.create_task(runtime.wait(ref))
    try:
        missed = 0
        while not ended.done():
            answer = await kept.tools.probe.health(ref.url)
            if ended.done():
                break
            missed = 0 if answer.ok else missed + 1
            deployment = await note_health(kept, deployment, missed, answer.detail)
            await kept.end_trouble(runtime, ref)
            since = deployment.unhealthy_since
            if (
                since is not None
                and kept.tools.clock.now() - since > HUNG_SECONDS
                and ref.runtime is not RuntimeKind.EXTERNAL
            ):
                await kill_hung(kept, deployment, f"did not answer for {format_duration(HUNG_SECONDS)}")
                return
            await asyncio.wait({ended}, timeout=HEALTH_POLL_SECONDS if answer.ok else SILENT_POLL_SECONDS)
        await exited(kept, deployment, ended.result())
    finally:
        with suppress(RuntimeUnavailable):
            await end(ended)


async def note_health(kept: Kept, deployment: Deployment, missed: int, detail: str) -> Deployment:
    now = kept.tools.clock.now()
    if missed == 0 and deployment.unhealthy_since is not None:
        silence = format_duration(now - deployment.unhealthy_since)
        return await kept.change(
            lambda d: replace(d, unhealthy_since=None), kept.event("recovered", f"answers again after {silence}")
        )
    if missed >= UNHEALTHY_AFTER and deployment.unhealthy_since is None:
        return await kept.change(
            lambda d: replace(d, unhealthy_since=now),
            kept.event("unhealthy", f"does not answer: {detail}", Level.WARNING),
        )
    return deployment
