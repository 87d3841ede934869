"""Whoever follows something outlives a restart of the daemon: engines do, and so does what is shown of them."""

import time
from collections.abc import Callable
from typing import TypeVar

from modelgrid.cli.output import say
from modelgrid.domain.errors import DaemonUnreachable

AWAY_SECONDS = 60.0
RETRY_SECONDS = 0.3

Answer = TypeVar("Answer")


def patiently(call: Callable[[], Answer], *, quiet: bool = False) -> Answer:
    """Return what `call` returns; while the daemon does not answer try again, for `AWAY_SECONDS`.

    Raises `DaemonUnreachable` after that, and every other error at once."""
    since: float | None = None
    while True:
        try:
            return call()
        except DaemonUnreachable:
            now = time.monotonic()
            if since is None:
                since = now
                if not quiet:
                    say("The daemon does not answer; waiting for it.", "yellow")
            if now - since > AWAY_SECONDS:
                raise
            time.sleep(RETRY_SECONDS)
