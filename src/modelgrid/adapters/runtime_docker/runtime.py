"""The runtimes `docker` and `podman`: engines as containers."""

import asyncio
import contextlib
import json
import math
import re
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelgrid.adapters.mounts import check_mounts
from modelgrid.adapters.runtime_docker import answers, container, logs, pull
from modelgrid.adapters.runtime_docker.engine_api import CALL_SECONDS, CHECK_SECONDS, ApiError, EngineApi
from modelgrid.domain.engine import (
    EngineExit,
    EngineLaunch,
    EngineRef,
    EngineState,
    EngineStats,
    EngineStatus,
    LogLine,
    PullProgress,
    RuntimeHealth,
)
from modelgrid.domain.errors import Conflict, LaunchRefused, RuntimeUnavailable
from modelgrid.domain.gpu import GpuVendor
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.target import RuntimeKind

OLD_ATTEMPT_GRACE_SECONDS = 10.0
LOG_CALL_SECONDS = 30.0
"""Bound for a log that is not followed: 500 lines, but the engine may read them from a slow disk."""


class DockerRuntime:
    """Implements `ports.runtime.Runtime` for containers. `kind` is `DOCKER` or `PODMAN`.

    `owner` is the id of the state directory: containers carry it as a label, others are never touched.
    `allowed_mounts` are the folders that engines may see. `network` is created when missing; empty uses the
    engine's default bridge. `call_seconds` bounds each call, `check_seconds` is the interval of the signs of
    life during long ones.

    What is in `EngineLaunch.env` can be read by whoever may use the engine's socket (`docker inspect`); such
    a user is root on the host anyway.
    """

    def __init__(
        self,
        kind: RuntimeKind,
        socket_path: str,
        owner: str,
        allowed_mounts: Sequence[Path],
        network: str,
        *,
        call_seconds: float = CALL_SECONDS,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        container.check_network(network)
        self.kind = kind
        self._name = kind.value.capitalize()
        self._api = EngineApi(socket_path, self._name, call_seconds=call_seconds, check_seconds=check_seconds)
        self._owner = owner
        self._allowed_mounts = tuple(allowed_mounts)
        self._network = network
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._cpu: dict[str, tuple[float, int]] = {}

    # Health and image ---------------------------------------------------------------------------------

    async def health(self) -> RuntimeHealth:
        path = self._api.socket_path
        try:
            version = await self._api.version()
        except (RuntimeUnavailable, ApiError) as error:
            cause = error.__cause__
            os_error = getattr(cause, "os_error", cause)
            if isinstance(os_error, PermissionError) or "Permission denied" in str(cause):
                problem, fix = (
                    f"The daemon's user may not use {path}.",
                    f"Add the user to the group of the socket: `usermod -aG {self.kind.value} <user>`.",
                )
            elif not await asyncio.to_thread(Path(path).exists):
                problem, fix = (
                    f"There is no {self._name} socket at {path}.",
                    f"Install {self._name} and start it, or set `docker.socketPath`.",
                )
            else:
                problem, fix = str(getattr(error, "message", error)), getattr(error, "fix", "")
            return RuntimeHealth(kind=self.kind, available=False, problem=problem, fix=fix)
        return RuntimeHealth(kind=self.kind, available=True, version=answers.engine_version(version))

    async def prepare(self, launch: EngineLaunch, progress: Callable[[PullProgress], None]) -> None:
        container.check_launch(launch)
        if await self._has_image(launch.image):
            return
        await self._api.lasting(self._pull(launch.image, progress))
        if not await self._has_image(launch.image):
            raise RuntimeUnavailable(f"{self._name} ended the pull of {launch.image} early.", fix="Try again.")

    async def _has_image(self, image: str) -> bool:
        try:
            await self._api.call("image inspect", lambda docker: docker.images.inspect(image))
        except ApiError as error:
            if error.status == 404:
                return False
            raise self._refused(f"The image {image} cannot be used: {error.message}", error) from None
        return True

    async def _pull(self, image: str, progress: Callable[[PullProgress], None]) -> None:
        meter = pull.PullMeter(image, progress)
        credentials = await asyncio.to_thread(pull.registry_credentials, image)
        tagged = ":" in image.rsplit("/", 1)[-1] or "@" in image
        params = {"fromImage": image if tagged else f"{image}:latest"}
        reporting = asyncio.create_task(meter.report_the_rest())
        try:
            async with self._api.stream("pull", "POST", "images/create", params, credentials) as response:
                async for line in response.content:
                    message = json.loads(line)
                    meter.message(message)
        except ApiError as error:
            raise self._refused(f"The image {image} cannot be pulled: {error.message}", error) from None
        finally:
            reporting.cancel()
        await asyncio.sleep(max(0.0, meter.due_in()))
        meter.report()

    # Starting -----------------------------------------------------------------------------------------

    async def start(self, launch: EngineLaunch) -> EngineRef:
        container.check_launch(launch)
        network = launch.network or self._network
        container.check_network(network)
        async with self._locks.setdefault(launch.deployment, asyncio.Lock()):
            there = await self._adoptable(launch)
            if there is None:
                await self._check_gpus(launch)
                mounts = await asyncio.to_thread(check_mounts, launch.mounts, self._allowed_mounts)
                config = container.container_config(launch, mounts, self._owner, self.kind, network)
                there = await self._create(launch, config, network)
            if there["State"]["Status"] in {"created", "configured", "initialized"}:
                await self._start(launch, there["Id"])
            return self._ref(there["Id"], there["Config"]["Labels"])

    async def _adoptable(self, launch: EngineLaunch) -> dict[str, Any] | None:
        """Return the container of this very attempt, after clearing away an older attempt's."""
        name = container.container_name(launch.deployment)
        there = await self._show(name)
        if there is None:
            return None
        labels = there["Config"]["Labels"] or {}
        if labels.get(container.LABEL_OWNER) != self._owner:
            raise LaunchRefused(
                f"A container named {name} is there already and belongs to somebody else.",
                fix=f"Remove it if nobody needs it: `{self.kind.value} rm -f {name}`.",
                container=name,
            )
        ref = self._ref(there["Id"], labels)
        if ref.attempt > launch.attempt:
            raise LaunchRefused(
                f"Attempt {ref.attempt} of {launch.deployment} was started already, {launch.attempt} is outdated.",
                attempt=ref.attempt,
            )
        if ref.attempt == launch.attempt:
            return there
        await self.stop(ref, OLD_ATTEMPT_GRACE_SECONDS)
        await self.remove(ref)
        return None

    async def _create(self, launch: EngineLaunch, config: Mapping[str, Any], network: str) -> dict[str, Any]:
        name = container.container_name(launch.deployment)
        if network:
            await self._ensure_network(network)
        try:
            await self._api.call("create", lambda docker: docker.containers.create(dict(config), name=name))
        except ApiError as error:
            if error.status != 409 and f'"{name}" is already in use' not in error.message:  # Podman says it with 500
                raise self._refused(f"{self._name} refused the container: {error.message}", error, launch) from None
        # Created by us, or just now by another daemon of this owner: then that one counts. Engines take the name
        # before the container can be seen.
        deadline = time.monotonic() + CALL_SECONDS
        while (there := await self._adoptable(launch)) is None:
            if time.monotonic() > deadline:
                raise RuntimeUnavailable(f"The container {name} vanished after it was created.", fix="Try again.")
            await asyncio.sleep(0.05)
        return there

    async def _start(self, launch: EngineLaunch, container_id: str) -> None:
        try:
            # Attaching networks and devices can take a while on a busy host.
            await self._api.lasting(
                self._api.call("start", lambda d: d.containers.container(container_id).start(), seconds=120)
            )
        except ApiError as error:
            # It never ran: taken away, so that the name is free and nothing waits for it.
            await self._delete(container_id)
            raise self._refused(f"{self._name} could not start the container: {error.message}", error, launch) from None

    async def _check_gpus(self, launch: EngineLaunch) -> None:
        if self.kind is RuntimeKind.PODMAN and any(gpu.vendor is GpuVendor.NVIDIA for gpu in launch.gpus):
            version = answers.engine_version(await self._api.known_version())
            if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < container.PODMAN_CDI_VERSION:
                raise LaunchRefused(
                    f"Podman {version} ignores GPU requests on its Docker-compatible socket.",
                    fix="Update to Podman 5.4 or newer and run `nvidia-ctk cdi generate`, or use Docker.",
                )

    async def _ensure_network(self, network: str) -> None:
        try:
            await self._api.call("network inspect", lambda docker: docker.networks.get(network))
        except ApiError as error:
            if error.status != 404:
                raise self._refused(f"The network {network} cannot be used: {error.message}", error) from None
        else:
            return
        body = {"Name": network, "Driver": "bridge", "CheckDuplicate": True, "Labels": {"modelgrid.network": "true"}}
        try:
            await self._api.call("network create", lambda docker: docker.networks.create(body))
        except ApiError as error:
            if error.status != 409:  # 409: somebody was faster
                raise self._refused(f"The network {network} cannot be made: {error.message}", error) from None

    # Finding and watching -----------------------------------------------------------------------------

    async def find(self) -> tuple[EngineRef, ...]:
        filters = json.dumps({"label": [f"{container.LABEL_OWNER}={self._owner}"]})
        found = await self._answer("list", lambda docker: docker.containers.list(all=True, filters=filters))
        refs = []
        for item in found:
            labels = item["Labels"] or {}
            if labels.get(container.LABEL_OWNER) == self._owner and container.LABEL_DEPLOYMENT in labels:
                refs.append(self._ref(item.id, labels))
        return tuple(sorted(refs, key=lambda ref: ref.deployment))

    async def inspect(self, ref: EngineRef) -> EngineStatus:
        try:
            return answers.status(await self._show(ref.id))
        except RuntimeUnavailable:
            return EngineStatus(state=EngineState.UNKNOWN)

    async def wait(self, ref: EngineRef) -> EngineExit | None:
        async def not_running() -> None:
            path, params = f"containers/{ref.id}/wait", {"condition": "not-running"}
            async with self._api.stream("wait", "POST", path, params) as response:
                await response.read()

        with contextlib.suppress(ApiError):  # it is gone; `_show` says so
            await self._api.lasting(not_running())
        status = answers.status(await self._show(ref.id))
        if status.state is EngineState.RUNNING:
            raise RuntimeUnavailable(f"{self._name} ended the wait for {ref.deployment} early.", fix="Wait again.")
        return status.exit

    async def stop(self, ref: EngineRef, grace_seconds: float) -> None:
        grace = max(0, math.ceil(grace_seconds))
        words = ""
        try:
            await self._api.lasting(
                self._api.call(
                    "stop", lambda d: d.containers.container(ref.id).stop(t=grace), seconds=grace + 3 * CALL_SECONDS
                )
            )
        except ApiError as error:  # not there, not running, or a process that cannot be killed
            words = error.message
        if answers.status(await self._show(ref.id)).state is EngineState.RUNNING:
            raise RuntimeUnavailable(f"{self._name} could not stop {ref.deployment}: {words or 'it still runs'}")

    async def remove(self, ref: EngineRef) -> None:
        if answers.status(await self._show(ref.id)).state is EngineState.RUNNING:
            raise Conflict(f"The engine of {ref.deployment} runs.", fix="Stop it first.")
        await self._delete(ref.id)
        self._cpu.pop(ref.id, None)

    async def _delete(self, container_id: str) -> None:
        try:
            await self._api.call("remove", lambda docker: docker.containers.container(container_id).delete(v=True))
        except ApiError as error:
            if error.status not in {404, 409}:  # 409: somebody removes it already
                raise RuntimeUnavailable(f"{self._name} could not remove a container: {error.message}") from None

    async def logs(self, ref: EngineRef, *, tail: int = 500, follow: bool = False) -> AsyncGenerator[LogLine]:
        # Podman 4 garbles lines that were written in pieces when it cuts the tail itself: we do it for it.
        cut_here = self.kind is RuntimeKind.PODMAN
        params = {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": "all" if cut_here else str(tail)}
        path = f"containers/{ref.id}/logs"

        async def read() -> tuple[int, deque[LogLine]]:
            count, last = 0, deque[LogLine](maxlen=tail)
            async with self._api.stream("logs", "GET", path, {**params, "follow": "0"}) as response:
                async for line in logs.read_frames(response):
                    count += 1
                    last.append(line)
            return count, last

        try:
            skip = 0
            if cut_here or not follow:
                count, last = await self._api.call("logs", lambda _: read(), seconds=LOG_CALL_SECONDS)
                skip = count - len(last)
                if not follow:
                    for line in last:
                        yield line
                    return
            async with (
                self._api.stream("logs", "GET", path, {**params, "follow": "1"}) as response,
                contextlib.aclosing(logs.read_frames(response)) as lines,
            ):
                async for line in lines:
                    if skip:
                        skip -= 1
                    else:
                        yield line
        except ApiError as error:
            if error.status not in {404, 409}:  # gone, or being removed
                raise RuntimeUnavailable(f"{self._name} does not give the log: {error.message}") from None

    async def stats(self, ref: EngineRef) -> EngineStats:
        there = await self._show(ref.id)
        if there is None or answers.status(there).state is not EngineState.RUNNING:
            return EngineStats()

        async def read() -> dict[str, Any]:
            path, params = f"containers/{ref.id}/stats", {"stream": "false", "one-shot": "true"}
            async with self._api.stream("stats", "GET", path, params) as response:
                answer: dict[str, Any] = await response.json(content_type=None)
                return answer

        reading = await self._answer("stats", lambda _: read())
        memory = reading.get("memory_stats") or {}
        inner = memory.get("stats") or {}
        usage = memory.get("usage")
        if usage is not None:  # the page cache can be taken back at any time: not the engine's (as `docker stats`)
            usage = max(0, usage - (inner.get("inactive_file") or inner.get("total_inactive_file") or 0))
        used = ((reading.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage")
        pids = await asyncio.to_thread(answers.host_pids, there["State"].get("Pid") or 0, ref.id)
        return EngineStats(memory_bytes=usage, cpu_percent=self._cpu_percent(ref.id, used), pids=pids)

    def _cpu_percent(self, key: str, used_nanoseconds: int | None) -> float | None:
        """Since the last call; `None` at the first."""
        if used_nanoseconds is None:
            return None
        now = time.monotonic()
        before = self._cpu.get(key)
        self._cpu[key] = (now, used_nanoseconds)
        if before is None or now <= before[0]:
            return None
        return max(0.0, (used_nanoseconds - before[1]) / 1e9 / (now - before[0]) * 100)

    async def sweep(self, keep: Collection[DeploymentId]) -> tuple[EngineRef, ...]:
        swept = [ref for ref in await self.find() if ref.deployment not in keep]
        for ref in swept:
            await self.stop(ref, OLD_ATTEMPT_GRACE_SECONDS)
            await self.remove(ref)
        return tuple(swept)

    async def close(self) -> None:
        self._cpu.clear()
        await self._api.close()

    # Helpers ------------------------------------------------------------------------------------------

    async def _show(self, name_or_id: str) -> dict[str, Any] | None:
        try:
            there: dict[str, Any] = await self._api.call(
                "inspect", lambda docker: docker.containers.container(name_or_id).show()
            )
        except ApiError as error:
            if error.status == 404:
                return None
            raise RuntimeUnavailable(f"{self._name} cannot tell about a container: {error.message}") from None
        return there

    async def _answer(self, what: str, action: Callable[[Any], Any]) -> Any:
        """Return the answer of a call that has no business failing."""
        try:
            return await self._api.call(what, action)
        except ApiError as error:
            raise RuntimeUnavailable(f"{self._name} failed ({what}): {error.message}") from None

    def _ref(self, container_id: str, labels: Mapping[str, str]) -> EngineRef:
        attempt = labels.get(container.LABEL_ATTEMPT, "")
        return EngineRef(
            runtime=self.kind,
            id=container_id,
            deployment=DeploymentId(labels[container.LABEL_DEPLOYMENT]),
            attempt=int(attempt) if attempt.isdecimal() else 0,
            url=f"http://127.0.0.1:{labels.get(container.LABEL_PORT, '0')}",
        )

    def _refused(self, message: str, error: ApiError, launch: EngineLaunch | None = None) -> LaunchRefused:
        """The engine's words, without any value of the launch's environment that they may repeat."""
        for value in sorted(launch.env.values(), key=len, reverse=True) if launch else ():
            if len(value) >= 4:
                message = message.replace(value, "***")
        return LaunchRefused(f"{message.rstrip('.')}.", fix=answers.fix(error.message), status=error.status)
