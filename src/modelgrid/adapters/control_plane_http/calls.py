"""One call, and what its answer means."""

import asyncio
import errno

import httpx
import msgspec

from modelgrid.domain.errors import (
    Conflict,
    ControlPlaneUnreachable,
    InvalidInput,
    InvitationRefused,
    ModelGridError,
    Unauthenticated,
)

PREFIX = "/v1/_cluster"
_ERRORS: dict[int, type[ModelGridError]] = {
    401: Unauthenticated,
    403: InvitationRefused,
    409: Conflict,
    422: InvalidInput,
}


class _Error(msgspec.Struct):
    message: str = ""
    fix: str = ""


class _ErrorBody(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


async def call(client: httpx.AsyncClient, method: str, path: str, *, body: bytes | None, timeout: float) -> bytes:  # noqa: ASYNC109
    """Return the body of a good answer, which has to be there within `timeout` seconds in all. Raises what the control
    plane answered with, or `ControlPlaneUnreachable`."""
    try:
        async with asyncio.timeout(timeout):
            answer = await client.request(method, PREFIX + path, content=body, timeout=timeout)
    except (httpx.TransportError, TimeoutError) as error:
        raise ControlPlaneUnreachable(
            f"The control plane at {client.base_url} does not answer: {str(error) or type(error).__name__}.",
            fix="This node serves on by itself and asks again every second.",
            refused=_was_refused(error),
        ) from error
    if answer.is_success:
        return answer.content
    try:
        said = msgspec.json.decode(answer.content, type=_ErrorBody).error
    except msgspec.MsgspecError:
        said = _Error(message=f"The control plane answered with status {answer.status_code}.")
    kind = _ERRORS.get(answer.status_code, ControlPlaneUnreachable)
    raise kind(said.message, fix=said.fix)


def _was_refused(error: BaseException | None) -> bool:
    """Whether the host itself said that nobody listens there."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError) or getattr(error, "errno", None) == errno.ECONNREFUSED:
            return True
        error = error.__cause__ or error.__context__
    return False
