"""Hashes passwords, in two threads of their own that run when nothing else wants the processor.

Hashing takes a core for 20 ms, and tokens on their way to clients come first."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from modelgrid.domain.errors import TooManyRequests

if TYPE_CHECKING:
    from argon2 import PasswordHasher

THREADS = 2
MOST_WAITING = 100
"""About a second of work for one core; who comes later is asked to come back."""
T = TypeVar("T")

_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$00SezmvQU0uLNQtNw0957A$G+kOJlW5GSyE7E/u/NvqGzsJE6KdUw4Km2/mBujZS+Y"
"""Stands for the hash of a user who does not exist: checking against it takes as long."""


def _hasher() -> "PasswordHasher":
    """OWASP's first recommendation for argon2id: 19 MiB, two passes, one lane."""
    from argon2 import PasswordHasher  # noqa: PLC0415  not needed to start

    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class Passwords:
    """Coroutines; raise `TooManyRequests` when too many wait already."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "modelgrid-password", initializer=_stand_back)
        self._waiting = 0

    async def hash(self, password: str) -> str:
        return await self._run(lambda: _hasher().hash(password))

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Tell whether `password` has that hash. `None`, for a user who does not exist, takes as long and is false."""
        matches = await self._run(lambda: _verify(password_hash or _NOBODY, password))
        return matches and password_hash is not None

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise TooManyRequests(
                "Too many people log in at this moment.", fix="Try again in a second.", retry_after=1.0
            )
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._threads.submit(work))
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Drop what waits; blocks for as long as one hash takes."""
        self._threads.shutdown(cancel_futures=True)


def _stand_back() -> None:
    # On Linux the policy belongs to a thread.
    os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))


def _verify(password_hash: str, password: str) -> bool:
    from argon2.exceptions import VerifyMismatchError  # noqa: PLC0415  with _hasher

    try:
        return _hasher().verify(password_hash, password)
    except VerifyMismatchError:
        return False
