"""Connections to engines by a name that somebody gave: the name is resolved here, what it leads to is judged, and that
very address is connected to. A name that leads elsewhere when it is asked again gains nothing."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import TypeVar

from modelgrid.decide.addresses import forbidden_address

P = TypeVar("P")


async def connect(loop: asyncio.AbstractEventLoop, host: str, port: int, make: Callable[[], P]) -> P:
    """Return the protocol of a new connection. Raises `OSError`; before anything is sent for a name of which one
    address is forbidden."""
    addresses = await _addresses(loop, host, port)
    for address in addresses:
        if forbidden_address(address):
            raise PermissionError(errno.EACCES, f"{host} leads to {address}, where nothing is asked for")
    failed: OSError | None = None
    for address in addresses:
        try:
            _, protocol = await loop.create_connection(make, address, port)  # type: ignore[type-var]  # one by its methods
        except OSError as error:
            failed = error
        else:
            return protocol
    raise failed or OSError(errno.EHOSTUNREACH, f"{host} has no address")


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[str]:
    """Return what `host` leads to. An address in numbers, which most engines have, is not looked up."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [host]
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
