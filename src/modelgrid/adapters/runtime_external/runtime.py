"""The runtime `external`: a vLLM that runs already gets health, metrics and routing, and no lifecycle."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection
from urllib.parse import urlsplit

import httpx

from modelgrid.adapters.egress import Egress
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
from modelgrid.domain.errors import InvalidInput, LaunchRefused, RuntimeUnavailable
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.target import RuntimeKind

PROBE_SECONDS = 5.0
"""Bound of one probe. A vLLM that is busy still answers /health from its event loop within milliseconds."""
POLL_SECONDS = 2.0
SILENT_PROBES = 3
"""`wait` gives up after so many probes in a row that told nothing."""


class ExternalRuntime:
    """Implements `ports.runtime.Runtime` for engines that are not ours.

    One probe decides, without memory; who wants hysteresis has it above (health checks, outlier ejection):

    * an HTTP answer below 500 to `/health`, or where that is unknown to `/v1/models`: running;
    * refused connection or an answer of 500 and above: not running (`EXITED`), which is what its own host says;
    * no answer in time, no route, unknown name, broken TLS: `UNKNOWN`, which may be our own network's fault.

    `stop`, `remove` and `sweep` let go of the engine and touch nothing; `find` knows none, since nothing is
    kept here: the deployment's own record holds the URL, and `start` attaches it again.
    """

    kind = RuntimeKind.EXTERNAL

    def __init__(self, *, probe_seconds: float = PROBE_SECONDS, poll_seconds: float = POLL_SECONDS) -> None:
        self._probe_seconds = probe_seconds
        self._poll_seconds = poll_seconds
        self._http: httpx.AsyncClient | None = None

    async def health(self) -> RuntimeHealth:
        return RuntimeHealth(kind=self.kind, available=True)

    async def prepare(self, launch: EngineLaunch, progress: Callable[[PullProgress], None]) -> None:
        _url(launch)

    async def start(self, launch: EngineLaunch) -> EngineRef:
        """Attach: raises `LaunchRefused` when the URL answers that no engine is there, `RuntimeUnavailable`
        when it does not answer."""
        url = _url(launch)
        state, words = await self._probe(url)
        fix = "Start that vLLM, or correct the URL."
        if state is EngineState.EXITED:
            raise LaunchRefused(f"No vLLM answers at {url}: {words}.", fix=fix, url=url)
        if state is EngineState.UNKNOWN:
            raise RuntimeUnavailable(f"{url} cannot be asked: {words}.", fix=fix, url=url)
        return EngineRef(runtime=self.kind, id=url, deployment=launch.deployment, attempt=launch.attempt, url=url)

    async def find(self) -> tuple[EngineRef, ...]:
        return ()

    async def inspect(self, ref: EngineRef) -> EngineStatus:
        state, words = await self._probe(ref.url)
        ended = EngineExit(at=time.time(), error=words) if state is EngineState.EXITED else None
        return EngineStatus(state=state, exit=ended)

    async def wait(self, ref: EngineRef) -> EngineExit | None:
        silent = 0
        while True:
            status = await self.inspect(ref)
            if status.state is EngineState.EXITED:
                return status.exit
            silent = silent + 1 if status.state is EngineState.UNKNOWN else 0
            if silent >= SILENT_PROBES:
                raise RuntimeUnavailable(f"{ref.url} does not answer.", fix="Check the network to it.", url=ref.url)
            await asyncio.sleep(self._poll_seconds)

    async def stop(self, ref: EngineRef, grace_seconds: float) -> None: ...

    async def remove(self, ref: EngineRef) -> None: ...

    async def logs(self, ref: EngineRef, *, tail: int = 500, follow: bool = False) -> AsyncGenerator[LogLine]:
        nothing: tuple[LogLine, ...] = ()
        for line in nothing:
            yield line

    async def stats(self, ref: EngineRef) -> EngineStats:
        return EngineStats()

    async def sweep(self, keep: Collection[DeploymentId]) -> tuple[EngineRef, ...]:
        return ()

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def _probe(self, url: str) -> tuple[EngineState, str]:
        try:
            async with asyncio.timeout(self._probe_seconds):
                answer = await self._client().get(f"{url}/health")
                if answer.status_code == httpx.codes.NOT_FOUND:
                    answer = await self._client().get(f"{url}/v1/models")
        except httpx.ConnectError as error:
            state = EngineState.EXITED if _refused(error) else EngineState.UNKNOWN
            return state, "connection refused" if state is EngineState.EXITED else str(error) or "no connection"
        except TimeoutError:
            return EngineState.UNKNOWN, f"no answer within {self._probe_seconds:g} s"
        except httpx.HTTPError as error:
            return EngineState.UNKNOWN, str(error) or type(error).__name__
        if answer.status_code == httpx.codes.NOT_FOUND:
            return EngineState.EXITED, "it is no vLLM (404 for /health and /v1/models)"
        if answer.status_code >= 500:
            return EngineState.EXITED, f"it answers {answer.status_code}"
        return EngineState.RUNNING, ""

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            # Engines are reached directly: a proxy of the environment is for the way out to the Internet.
            self._http = httpx.AsyncClient(
                timeout=self._probe_seconds,
                follow_redirects=False,
                transport=Egress(verify=False),  # engines speak plain HTTP, and other URLs are refused
            )
        return self._http


def _url(launch: EngineLaunch) -> str:
    """Return the base URL without a trailing slash. Raises `InvalidInput`."""
    url = (launch.url or "").rstrip("/").removesuffix("/v1")
    try:
        parts = urlsplit(url)
        valid = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment or parts.username or not url.isprintable() or " " in url:
        raise InvalidInput(
            f"{launch.url!r} is no base URL of an engine.", fix="Write it as http://host:port.", url=launch.url
        )
    return url


def _refused(error: BaseException) -> bool:
    """Return whether every address of the host refused the connection (httpx wraps that some layers deep)."""
    if isinstance(error, BaseExceptionGroup):
        return all(_refused(part) for part in error.exceptions)
    below = error.__cause__ or error.__context__
    return isinstance(error, ConnectionRefusedError) or (below is not None and _refused(below))
