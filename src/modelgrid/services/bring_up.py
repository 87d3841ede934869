"""The steps towards a running engine: open an attempt, make the program available, start it, wait until it serves."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial

from modelgrid.domain.deployment import Deployment
from modelgrid.domain.engine import EngineExit, EngineRef, PullProgress
from modelgrid.domain.errors import InvalidInput, LaunchRefused, RuntimeUnavailable
from modelgrid.domain.units import format_bytes, format_duration
from modelgrid.services.ending import end
from modelgrid.services.failpoints import failpoint
from modelgrid.services.failures import exited, failed, kill_hung
from modelgrid.services.kept import Kept

READY_POLL_SECONDS = 0.25
START_SILENCE_SECONDS = 1_800.0
"""An engine that loads and writes no log line for so long hangs. Large weights on slow links log progress."""


async def begin(kept: Kept) -> None:
    """Open a new attempt: whatever is known of the last one is over."""

    def opened(present: Deployment) -> Deployment:
        return replace(
            present,
            attempt=present.attempt + 1,
            failures=() if present.restart_requested else present.failures,
            restart_requested=False,
            port=None,
            pull_started_at=None,
            pulled_at=None,
            started_at=None,
            ready_at=None,
            unhealthy_since=None,
            drain_started_at=None,
            stop_started_at=None,
            engine_gone_at=None,
        )

    kept.forget_progress()
    await kept.change(opened)


async def prepare(kept: Kept, deployment: Deployment) -> None:
    """Pull the image or find the program. A refusal of the registry or of the launch is a failed attempt."""
    runtime = kept.runtime(deployment)
    now = kept.tools.clock.now()
    if deployment.port is None:
        port = kept.tools.allocate_port()
        deployment = await kept.change(lambda d: replace(d, port=port))
    try:
        launch = kept.tools.launch(deployment)
        began = await kept.change(
            lambda d: replace(d, pull_started_at=d.pull_started_at or now),
            kept.event("pulling", f"image {launch.image}" if launch.image else "looking for the engine's program"),
        )
        await runtime.prepare(launch, partial(pull_progressed, kept))
    except (LaunchRefused, InvalidInput) as refusal:
        await failed(kept, deployment, EngineExit(at=kept.tools.clock.now(), error=str(refusal)))
        return
    failpoint("prepared")
    now = kept.tools.clock.now()
    took = format_duration(now - (began.pull_started_at or now))
    size = format_bytes(kept.live.pull.total_bytes) + ", " if kept.live.pull and kept.live.pull.layers else ""
    await kept.change(lambda d: replace(d, pulled_at=now), kept.event("pulled", f"available ({size}{took})"))


def pull_progressed(kept: Kept, progress: PullProgress) -> None:
    kept.live.pull = progress


async def start(kept: Kept, deployment: Deployment) -> None:
    """Start the engine, or adopt the one that a start before a crash left behind."""
    runtime = kept.runtime(deployment)
    try:
        ref = await runtime.start(kept.tools.launch(deployment))
    except (LaunchRefused, InvalidInput) as refusal:
        await failed(kept, deployment, EngineExit(at=kept.tools.clock.now(), error=str(refusal)))
        return
    failpoint("started")
    now = kept.tools.clock.now()
    await kept.change(
        lambda d: replace(d, engine=ref, started_at=now),
        kept.event("started", f"engine {ref.id[:12]} started, attempt {ref.attempt}", engine=ref.id, url=ref.url),
    )


async def await_ready(kept: Kept, deployment: Deployment) -> None:
    """Return when the engine answered health and one real token, or when the attempt failed."""
    ref, runtime = kept.engine(deployment), kept.runtime(deployment)
    kept.follow(runtime, ref)
    ended = asyncio.create_task(runtime.wait(ref))
    try:
        silent_since = kept.tools.clock.monotonic()
        lines = kept.log.lines
        while not ended.done():
            await kept.end_trouble(runtime, ref)
            if await answers(kept, deployment, ref):
                await became_ready(kept, deployment)
                return
            if kept.log.lines != lines:
                lines, silent_since = kept.log.lines, kept.tools.clock.monotonic()
            if kept.tools.clock.monotonic() - silent_since > START_SILENCE_SECONDS:
                await kill_hung(kept, deployment, f"no sign of life for {format_duration(START_SILENCE_SECONDS)}")
                return
            await asyncio.wait({ended}, timeout=READY_POLL_SECONDS)
        await exited(kept, deployment, ended.result())
    finally:
        with suppress(RuntimeUnavailable):
            await end(ended)


async def answers(kept: Kept, deployment: Deployment, ref: EngineRef) -> bool:
    health = await kept.tools.probe.health(ref.url)
    if not health.ok:
        kept.live.not_ready_because = health.detail
        return False
    name, capabilities = kept.tools.names(deployment)
    token = await kept.tools.probe.one_token(ref.url, name, capabilities)
    kept.live.not_ready_because = token.detail
    return token.ok


async def became_ready(kept: Kept, deployment: Deployment) -> None:
    failpoint("ready")
    now = kept.tools.clock.now()
    took = format_duration(now - (deployment.started_at or now))
    kept.live.phase = ""
    await kept.change(
        lambda d: replace(d, ready_at=now, unhealthy_since=None),
        kept.event("ready", f"answered health and a first token after {took}"),
    )
