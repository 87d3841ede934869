"""Ports of engines on loopback."""

import socket
from collections.abc import Callable, Collection

from modelgrid.domain.errors import LaunchRefused

FIRST_PORT, LAST_PORT = 20_000, 29_999
"""Below the kernel's ephemeral range, so that outgoing connections do not take an engine's port."""


class EnginePorts:
    """Gives out ports in turn, so that no two starts under way are given the same one, and that a port is not used
    again at once by another engine while somebody may still connect to the one before.

    `start` is any number; daemons that share a machine should not begin at the same port.
    """

    def __init__(self, taken: Callable[[], Collection[int]], start: int) -> None:
        self._taken = taken
        self._next = start

    def allocate(self) -> int:
        """Return a port nobody listens on and no deployment holds. Raises `LaunchRefused` when there is none."""
        held = set(self._taken())
        count = LAST_PORT - FIRST_PORT + 1
        for _ in range(count):
            port = FIRST_PORT + self._next % count
            self._next += 1
            if port not in held and _is_free(port):
                return port
        raise LaunchRefused(
            f"No free port between {FIRST_PORT} and {LAST_PORT} on 127.0.0.1.",
            fix="Remove deployments, or stop what listens there.",
        )


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
