"""Ports for whatever a test starts by itself.

A port that the kernel chose can be given to somebody else before the daemon under test listens on it: to another
test's daemon that asked a moment later, or to an outgoing connection. So these lie below the kernel's ephemeral range
(and below the ports of engines), and belong to this process for as long as it lives.
"""

import os
import socket
from itertools import cycle, islice

FIRST, LAST = 10_000, 19_999
_COUNT = LAST - FIRST + 1

_candidates = islice(cycle(range(FIRST, LAST + 1)), os.getpid() * 97 % _COUNT, None)


def free_ports(count: int) -> list[int]:
    """Return ports nobody listens on now, and that no other test process on this machine is given meanwhile."""
    found: list[int] = []
    for port in islice(_candidates, _COUNT):
        if len(found) == count:
            return found
        if _claim(port):
            found.append(port)
    raise AssertionError(f"no free port between {FIRST} and {LAST}")


def free_port() -> int:
    """Return one of them."""
    (port,) = free_ports(1)
    return port


def _claim(port: int) -> bool:
    """A name in the abstract namespace of Unix sockets is had by one process, and is free again when that has ended,
    however it ends."""
    with socket.socket() as probe, socket.socket(socket.AF_UNIX) as claim:
        try:
            claim.bind(f"\0modelgrid-test-port-{port}")
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        claim.detach()  # open from now on
    return True
