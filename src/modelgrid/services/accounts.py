"""People who may log in to the console, and their passwords."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelgrid.config.file import write_atomically
from modelgrid.domain.access import User
from modelgrid.domain.errors import InvalidInput, NotFound, Unauthenticated
from modelgrid.domain.event import Subject
from modelgrid.ports.clock import Clock
from modelgrid.ports.secrets import Secrets
from modelgrid.ports.store import Store
from modelgrid.services.events import EventMaker
from modelgrid.services.passwords import Passwords

ADMIN = "admin"
ONE_TIME_BITS = 128
ONE_TIME_SECONDS = 24 * 3600.0
SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 256


@dataclass(frozen=True, slots=True)
class PasswordProof:
    """A name and a password: the `Proof` of who has no other."""

    accounts: "AccountService"
    claimed: str
    password: str = field(repr=False)

    async def user(self) -> User:
        return await self.accounts.check(self.claimed, self.password)

    async def still_holds(self, user: User) -> bool:
        return await self.accounts.is_current(user)


class AccountService:
    """The one writer of users. `on_changed` hears the name of each user whose password was changed, whose sessions
    the store has ended then."""

    def __init__(self, store: Store, clock: Clock, secrets: Secrets, passwords: Passwords, password_file: Path) -> None:
        self._store = store
        self._clock = clock
        self._secrets = secrets
        self._passwords = passwords
        self._password_file = password_file
        self._event = EventMaker(clock, Subject.USER)
        self._changing = asyncio.Lock()
        self.on_changed: Callable[[str], None] = lambda _: None

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
            password_hash=await self._passwords.hash(password),
            must_change_password=True,
            password_expires_at=now + ONE_TIME_SECONDS,
            updated_at=now,
        )
        await self._store.put_user(user, events=[self._event(ADMIN, "user_created", "first user created")])
        return password

    async def check(self, name: str, password: str) -> User:
        """Return the user with that name and password. Raises `Unauthenticated`, after the same time whether the
        user exists or not."""
        user = await self._find(name)
        if not await self._passwords.matches(user.password_hash if user else None, password) or user is None:
            raise Unauthenticated(
                "The user name or the password is wrong.",
                fix="The first user is `admin`; its one-time password is in the file `initial-password` of the state "
                "directory. `modelgrid config user passwd` sets a new one.",
            )
        if user.password_expires_at is not None and user.password_expires_at <= self._clock.now():
            raise Unauthenticated(
                "This one-time password was valid for a day, which is over.",
                fix="Set a password on the daemon's machine: modelgrid config user passwd",
            )
        return user

    async def change_password(self, name: str, current: str, new: str) -> User:
        """Replace a password by its owner. Raises `Unauthenticated` when `current` is not it, `InvalidInput` when
        `new` will not do."""
        # One after the other, so that a one-time password changes a password once.
        async with self._changing:
            user = await self.check(name, current)
            if new == current:
                raise InvalidInput(
                    "The new password is the present one.", fix="Choose one that was not shown anywhere.", path="new"
                )
            return await self._replace(user, new, by=name, path="new")

    async def set_password(self, name: str, password: str, *, by: str) -> User:
        """Give a user a password without knowing the present one. Raises `NotFound`, `InvalidInput`."""
        async with self._changing:
            user = await self._find(name)
            if user is None:
                raise NotFound(f"There is no user {name!r}.", fix=f"The first user is {ADMIN!r}.")
            return await self._replace(user, password, by=by, path="password")

    async def is_current(self, user: User) -> bool:
        """Tell whether nobody changed the user since it was read."""
        return await self._find(user.name) == user

    async def _find(self, name: str) -> User | None:
        return next((user for user in await self._store.users() if user.name == name), None)

    async def _replace(self, user: User, password: str, *, by: str, path: str) -> User:
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise InvalidInput(
                f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters.",
                fix="Choose a longer one; a sentence is good.",
                path=path,
            )
        changed = replace(
            user,
            password_hash=await self._passwords.hash(password),
            must_change_password=False,
            password_expires_at=None,
            updated_at=self._clock.now(),
        )
        event = self._event(user.name, "password_changed", "password changed", by=by)
        await self._store.put_user(changed, ends_sessions=True, events=[event])
        self.on_changed(user.name)
        await asyncio.to_thread(self._password_file.unlink, missing_ok=True)
        return changed
