"""Calls to a container engine, each within a bound, with errors in our own words.

aiodocker makes the calls that ask and answer. What streams (pull, logs, wait) goes through its HTTP session
directly: there the connection must be closed at once when we stop reading, because that is how a pull is
cancelled, and standard output and error must stay apart."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from modelgrid.domain.errors import RuntimeUnavailable

if TYPE_CHECKING:
    import aiodocker
    import aiohttp

CALL_SECONDS = 10.0
"""Bound of every call that is not meant to last (`ports.runtime`)."""
CHECK_SECONDS = 15.0
"""How often an engine is asked for a sign of life while a long call says nothing."""
_CONNECT_FAILED = 900
"""aiodocker's own status for an engine that cannot be reached."""

T = TypeVar("T")


class ApiError(Exception):
    """The engine answered with an error. `status` is its HTTP status; 0 when it came inside a stream."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message.strip()


class EngineApi:
    """One connection pool to one engine. `name` is what people call it: Docker or Podman."""

    def __init__(self, socket_path: str, name: str, *, call_seconds: float, check_seconds: float) -> None:
        self.socket_path = socket_path
        self.name = name
        self._call_seconds = call_seconds
        self._check_seconds = check_seconds
        self._docker: aiodocker.Docker | None = None
        self._connector: aiohttp.UnixConnector | None = None
        self._opening = asyncio.Lock()
        self._version: dict[str, Any] | None = None

    async def _client(self) -> "aiodocker.Docker":
        async with self._opening:
            if self._docker is None:
                # About 0.3 s of imports: in a thread, so that they do not stall the loop.
                aiodocker, aiohttp = await asyncio.to_thread(_import_client)
                # No limit on connections: each engine that runs holds one for `wait` and one for its log.
                self._connector = aiohttp.UnixConnector(self.socket_path, limit=0)
                self._docker = aiodocker.Docker(
                    url="unix://localhost",  # only the scheme counts: the connector knows the socket
                    connector=self._connector,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._call_seconds),
                )
            return self._docker

    async def call(
        self, what: str, action: Callable[["aiodocker.Docker"], Awaitable[T]], *, seconds: float | None = None
    ) -> T:
        """Return what `action` returns. Raises `ApiError`, or `RuntimeUnavailable` after `seconds` (10)."""
        docker = await self._client()
        with self._translated(what):
            async with asyncio.timeout(seconds or self._call_seconds):
                return await action(docker)

    async def version(self) -> dict[str, Any]:
        """Ask for the version; also the sign of life."""
        answer: dict[str, Any] = await self.call("version", lambda docker: docker.version())
        self._version = answer
        return answer

    async def known_version(self) -> dict[str, Any]:
        """Return the version last told, asking only the first time."""
        return self._version or await self.version()

    @asynccontextmanager
    async def stream(
        self, what: str, method: str, path: str, params: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> AsyncIterator["aiohttp.ClientResponse"]:
        """Yield the open response of a long call. Leaving closes its connection. Not bounded: see `lasting`."""
        docker = await self._client()
        api = (await self.known_version())["ApiVersion"]
        with self._translated(what):
            response = await docker.session.request(
                method, f"http://engine/v{api}/{path}", params=params, headers=headers
            )
            try:
                if response.status >= 400:
                    raise ApiError(response.status, await _message(response))
                yield response
            finally:
                response.close()

    async def lasting(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns, as long as the engine shows signs of life meanwhile.

        Raises `RuntimeUnavailable` when it stops answering, although `work` alone would wait for ever."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait({task}, timeout=self._check_seconds))[0]:
                await self.version()
            return task.result()
        finally:
            task.cancel()
            await asyncio.wait({task})

    def _translated(self, what: str) -> "_Translated":
        return _Translated(self, what)

    async def close(self) -> None:
        if self._docker is not None and self._connector is not None:
            await self._docker.close()
            await self._connector.close()
        self._docker = self._connector = None


class _Translated:
    """Turns the client's exceptions into ours."""

    def __init__(self, api: EngineApi, what: str) -> None:
        self._api = api
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if error is None or not isinstance(error, Exception):
            return
        aiodocker, aiohttp = _import_client()
        name, path = self._api.name, self._api.socket_path
        if isinstance(error, TimeoutError):
            raise RuntimeUnavailable(
                f"{name} does not answer ({self._what}).", fix=f"Check the engine behind {path}.", socket=path
            ) from None
        if isinstance(error, aiodocker.DockerError) and error.status != _CONNECT_FAILED:
            if error.status == 503:
                raise RuntimeUnavailable(f"{name} is not ready: {error.message}", socket=path) from None
            raise ApiError(error.status, str(error.message)) from None
        if isinstance(error, (aiodocker.DockerError, aiohttp.ClientError, OSError)):
            raise RuntimeUnavailable(
                f"{name} cannot be reached at {path} ({self._what}).",
                fix=f"Start the engine, for example `systemctl start {name.lower()}`, or set `docker.socketPath`.",
                socket=path,
            ) from error


def _import_client() -> tuple[Any, Any]:
    return importlib.import_module("aiodocker"), importlib.import_module("aiohttp")


async def _message(response: "aiohttp.ClientResponse") -> str:
    text = await response.text(errors="replace")
    if response.content_type == "application/json":
        answer = await response.json()
        if isinstance(answer, dict) and isinstance(answer.get("message"), str):
            return str(answer["message"])
    return text
