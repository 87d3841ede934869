"""People who may log in to the console. Passwords are argon2id hashes; hashing runs in worker threads."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelgrid.config.file import write_atomically
from modelgrid.domain.access import User
from modelgrid.domain.errors import InvalidInput, NotFound
from modelgrid.domain.event import Subject
from modelgrid.ports.clock import Clock
from modelgrid.ports.secrets import Secrets
from modelgrid.ports.store import Store
from modelgrid.services.events import EventMaker

if TYPE_CHECKING:
    from argon2 import PasswordHasher

ADMIN = "admin"
ONE_TIME_BITS = 128
ONE_TIME_SECONDS = 24 * 3600.0
SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 256


def _hasher() -> "PasswordHasher":
    """OWASP's first recommendation for argon2id: 19 MiB, two passes, one lane."""
    from argon2 import PasswordHasher  # noqa: PLC0415  not needed to start

    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class AccountService:
    def __init__(self, store: Store, clock: Clock, secrets: Secrets, password_file: Path) -> None:
        self._store = store
        self._clock = clock
        self._secrets = secrets
        self._password_file = password_file
        self._event = EventMaker(clock, Subject.USER)

    async def bootstrap(self) -> str | None:
        """Seed `admin` on the first start; return its one-time password then, `None` later.

        The password also stands in a file that only the daemon's user can read; it ends after a day."""
        if await self._store.users():
            return None
        password = self._secrets.token(ONE_TIME_BITS)
        await asyncio.to_thread(write_atomically, self._password_file, password + "\n")
        now = self._clock.now()
        user = User(
            name=ADMIN,
            password_hash=await asyncio.to_thread(lambda: _hasher().hash(password)),
            must_change_password=True,
            password_expires_at=now + ONE_TIME_SECONDS,
            updated_at=now,
        )
        await self._store.put_user(user, events=[self._event(ADMIN, "user_created", "first user created")])
        return password

    async def set_password(self, name: str, password: str, *, by: str) -> None:
        """Give a user a password of their own choice. Raises `NotFound`, `InvalidInput`."""
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise InvalidInput(
                f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters.",
                fix="Choose a longer one; a sentence is good.",
                path="password",
            )
        user = next((user for user in await self._store.users() if user.name == name), None)
        if user is None:
            raise NotFound(f"There is no user {name!r}.", fix=f"The first user is {ADMIN!r}.")
        digest = await asyncio.to_thread(lambda: _hasher().hash(password))
        changed = replace(
            user,
            password_hash=digest,
            must_change_password=False,
            password_expires_at=None,
            updated_at=self._clock.now(),
        )
        await self._store.put_user(changed, events=[self._event(name, "password_changed", "password changed", by=by)])
        await asyncio.to_thread(self._password_file.unlink, missing_ok=True)
