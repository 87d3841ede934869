"""How a call reaches the daemon, and what its refusals become."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from modelgrid.domain.errors import (
    Conflict,
    DaemonUnreachable,
    Forbidden,
    InvalidConfig,
    InvalidInput,
    LaunchRefused,
    ModelGridError,
    NotFound,
    PreconditionFailed,
    RuntimeUnavailable,
    StorageFull,
    StoreUnavailable,
    Unauthenticated,
)

PREFIX = "/v1/_ui"

_ERRORS: Mapping[str, type[ModelGridError]] = {
    error.code: error
    for error in (
        InvalidInput, InvalidConfig, LaunchRefused, Unauthenticated, Forbidden, NotFound, Conflict, PreconditionFailed,
        StorageFull, StoreUnavailable, RuntimeUnavailable,
    )
}  # fmt: skip


class Transport:
    """The connections to one daemon. Every call blocks."""

    def __init__(
        self, url: str, token: str | None = None, *, timeout_seconds: float = 60.0, verify: bool = True
    ) -> None:
        self._url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self._url + PREFIX,
            # A session's cookie is taken only from a page of the console, which is what a client with one stands for.
            headers={"Authorization": f"Bearer {token}"} if token is not None else {"Origin": self._url},
            timeout=timeout_seconds,
            # Reading the machine's certificates takes a while, and plain HTTP has no use for them.
            verify=verify and url.startswith("https:"),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The client is of no use after that."""
        self._http.close()

    def _json(self, method: str, path: str, **call: Any) -> Any:
        response = self._do(method, path, **call)
        try:
            return response.json()
        except ValueError:
            raise _stranger(response) from None

    def _text(self, method: str, path: str, **call: Any) -> str:
        return self._do(method, path, **call).text

    def _do(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        if_match: str | int | None = None,
    ) -> httpx.Response:
        headers = {} if if_match is None else {"If-Match": f'"{if_match}"'}
        with self._reaching():
            response = self._http.request(method, path, params=given(query), json=body, headers=headers)
        if not response.is_success:
            raise _error(response)
        return response

    @contextmanager
    def _streaming(
        self, path: str, query: Mapping[str, Any], *, silence_seconds: float | None = None
    ) -> Iterator[httpx.Response]:
        """Open an answer that comes bit by bit; `silence_seconds` is the longest pause in it."""
        patience = self._http.timeout if silence_seconds is None else httpx.Timeout(silence_seconds)
        with self._reaching(), self._http.stream("GET", path, params=given(query), timeout=patience) as response:
            if not response.is_success:
                response.read()
                raise _error(response)
            yield response

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn what goes wrong on the way into `DaemonUnreachable`."""
        try:
            yield
        except httpx.ConnectError as error:
            why = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or "no connection"
            raise DaemonUnreachable(
                f"No daemon answers at {self._url}: {why}.",
                fix="Start it with `modelgrid up` or `modelgrid service start`; `modelgrid doctor` tells more.",
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DaemonUnreachable(
                f"The daemon at {self._url} does not answer ({type(error).__name__}).",
                fix="`modelgrid service status` or the daemon's log tells why.",
            ) from error


def given(query: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the parameters that were given; the others take the daemon's defaults."""
    return {name: value for name, value in (query or {}).items() if value is not None}


def part(text: str) -> str:
    """Return `text` as one part of a path."""
    return quote(text, safe="")


def path(text: str) -> str:
    """Return `text` as the rest of a path, in which slashes stay: ids of models have them."""
    return quote(text, safe="/")


def _error(response: httpx.Response) -> ModelGridError:
    try:
        body = response.json()["error"]
        code, message, fix = str(body["code"]), str(body["message"]), str(body.get("fix", ""))
        details = dict(body.get("details", {}))
    except (ValueError, KeyError, TypeError, AttributeError):
        return _stranger(response)
    if "type" in body:
        return _stranger(response)  # the gateway's errors have one, as OpenAI's do
    known = _ERRORS.get(code) or type("ApiError", (ModelGridError,), {"code": code, "status": response.status_code})
    error: ModelGridError = known(message, fix=fix)
    error.details = details
    return error


def _stranger(response: httpx.Response) -> ModelGridError:
    return DaemonUnreachable(
        f"What answers at {response.request.url.copy_with(raw_path=b'/')} is no console API (status "
        f"{response.status_code}).",
        fix="Give the console's address, whose port is api.uiPort (8081 unless set), not the gateway's.",
    )
