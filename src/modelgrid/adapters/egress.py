"""Connections to addresses that somebody named: what a name resolves to is judged, and that very address is used.

A URL is judged as it is written when it is configured (`config.urls`). Its name may still lead to where clouds keep the
machine's credentials, at once or when it is asked a second time."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence

import httpx

from modelgrid.decide.addresses import forbidden_address, is_loopback

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class RefusedAddress(httpx.ConnectError):
    """The name leads to an address that the daemon connects to on nobody's behalf."""


class Egress(httpx.AsyncBaseTransport):
    """Resolves each name once, and connects to what it has judged. One bad address among several refuses the name."""

    def __init__(
        self, *, loopback: bool = True, verify: bool | ssl.SSLContext = True, limits: httpx.Limits | None = None,
        resolve: Resolve | None = None,
    ) -> None:  # fmt: skip
        """`loopback`: whether addresses of this machine are allowed; they are not for what strangers refer to."""
        self._inner = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits or httpx.Limits())
        self._loopback = loopback
        self._resolve = resolve

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises `RefusedAddress` before anything is sent, `httpx.ConnectError` for a name that does not resolve."""
        host = request.url.host
        port = request.url.port or {"https": 443}.get(request.url.scheme, 80)
        addresses = await judged(host, port, loopback=self._loopback, resolve=self._resolve)
        if addresses == [host]:
            return await self._inner.handle_async_request(request)
        failed: httpx.ConnectError | None = None
        for address in addresses:
            try:
                return await self._inner.handle_async_request(_at(request, address))
            except httpx.ConnectError as error:
                failed = error
        raise failed or httpx.ConnectError(f"{host} has no address", request=request)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def judged(host: str, port: int, *, loopback: bool = True, resolve: Resolve | None = None) -> list[str]:
    """Return the addresses that a host leads to, each of which may be connected to. An address is its own.

    Raises `RefusedAddress` when one of them may not, `httpx.ConnectError` for a name that does not resolve."""
    addresses = [host]
    if not _is_address(host):
        try:
            addresses = list(dict.fromkeys(await (resolve or _system)(host, port)))
        except (OSError, UnicodeError) as error:  # the second: no name can be like that
            raise httpx.ConnectError(f"{host} is not known: {getattr(error, 'strerror', '') or error}") from error
    for address in addresses:
        if forbidden_address(address) or (is_loopback(address) and not loopback):
            raise RefusedAddress(f"{host} leads to {address}, where nothing is asked for")
    return addresses


def _at(request: httpx.Request, address: str) -> httpx.Request:
    """Return the request, sent to an address: the name stays in `Host` and is what the certificate has to show."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def _system(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
