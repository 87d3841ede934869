"""Logins of people. The token leaves this module once, for the cookie; only its SHA-256 is kept."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256

import structlog

from modelgrid.decide.sessions import LONGEST_SECONDS, is_over
from modelgrid.domain.access import Session, User
from modelgrid.domain.errors import ModelGridError, NotFound, Unauthenticated
from modelgrid.ports.clock import Clock
from modelgrid.ports.login import Proof
from modelgrid.ports.secrets import Secrets
from modelgrid.ports.store import Store
from modelgrid.services.accounts import AccountService
from modelgrid.services.login_throttle import LoginThrottle

TOKEN_BITS = 256
MOST_PER_USER = 50
"""Beyond, the oldest ends."""
LONGEST_AGENT = 200
TIDY_SECONDS = 10.0
SEEN_SECONDS = 60.0
"""When a session was last seen is written no oftener; a crash makes it that much older."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    session: Session
    token: str
    """For the cookie; shown this once."""


@dataclass(slots=True)
class _Live:
    session: Session
    """`last_seen_at` is what the store has."""
    seen_at: float
    in_use: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class SessionService:
    """Keeps all sessions in memory beside the store; `load` comes first."""

    def __init__(
        self, store: Store, clock: Clock, secrets: Secrets, accounts: AccountService, throttle: LoginThrottle
    ) -> None:
        self._store = store
        self._clock = clock
        self._secrets = secrets
        self._accounts = accounts
        self._throttle = throttle
        self._live: dict[str, _Live] = {}
        self._by_digest: dict[str, str] = {}
        accounts.on_changed = self._forget_user

    async def load(self) -> None:
        for session in await self._store.sessions():
            self._keep(session)

    async def login(self, proof: Proof, *, source: str, agent: str) -> Opened:
        """Open a session with a new token. Raises `Unauthenticated`, and `TooManyRequests` after many tries."""
        self._throttle.begin(proof.claimed, source)
        user = await proof.user()
        self._throttle.succeeded(proof.claimed, source)
        opened = await self._open(user, source, agent)
        if not await proof.still_holds(user):
            await self.end(opened.session.id)
            raise Unauthenticated("The password was changed at this moment.", fix="Log in with the new one.")
        return opened

    async def change_password(self, session: Session, current: str, new: str, *, source: str) -> Opened:
        """Change the password of the session's user; every session of theirs ends, and a new one is opened.

        Raises `Unauthenticated`, `InvalidInput`, `TooManyRequests`."""
        self._throttle.begin(session.user, source)
        user = await self._accounts.change_password(session.user, current, new)
        self._throttle.succeeded(session.user, source)
        return await self._open(user, source, session.agent)

    def find(self, token: str) -> Session | None:
        """Return the session that the cookie's token belongs to, unless its time is over."""
        live = self._live.get(self._by_digest.get(sha256(token.encode()).hexdigest(), ""))
        if live is None or self._is_over(live):
            return None
        return live.session

    @contextmanager
    def use(self, session: Session) -> Iterator[asyncio.Event]:
        """Count a call or a stream as use of the session while it lasts; the event is set when the session ends."""
        live = self._live[session.id]
        live.in_use += 1
        live.seen_at = self._clock.now()
        try:
            yield live.ended
        finally:
            live.in_use -= 1
            live.seen_at = self._clock.now()

    def all(self) -> tuple[Session, ...]:
        """Return the sessions that last, oldest first, with the time they were last seen."""
        lasting = [live for live in self._live.values() if not self._is_over(live)]
        return tuple(replace(live.session, last_seen_at=live.seen_at) for live in lasting)

    async def end(self, session_id: str) -> None:
        """End a session: its next call is refused and its streams close. Raises `NotFound`."""
        if session_id not in self._live:
            raise NotFound(f"There is no session {session_id!r}.", fix="It may have ended; list the sessions again.")
        await self._store.delete_sessions([session_id])
        self._forget(session_id)

    async def run(self) -> None:
        """End the sessions whose time is over, and write down when the others were seen. Runs for ever."""
        while True:
            await self._clock.sleep(TIDY_SECONDS)
            try:
                await self.tidy()
            except ModelGridError as error:
                log.warning("sessions not written", error=str(error))

    async def tidy(self) -> None:
        over = [key for key, live in self._live.items() if self._is_over(live)]
        for key in over:
            self._forget(key)
        await self._store.delete_sessions(over)
        seen = {
            key: live.seen_at
            for key, live in self._live.items()
            if live.seen_at - live.session.last_seen_at >= SEEN_SECONDS
        }
        await self._store.sessions_seen(seen)
        for key, at in seen.items():
            if live := self._live.get(key):
                live.session = replace(live.session, last_seen_at=at)

    async def _open(self, user: User, source: str, agent: str) -> Opened:
        now = self._clock.now()
        token = self._secrets.token(TOKEN_BITS)
        session = Session(
            id=f"session-{self._secrets.token(72).lower()}",
            digest=sha256(token.encode()).hexdigest(),
            user=user.name,
            created_at=now,
            last_seen_at=now,
            expires_at=min(now + LONGEST_SECONDS, user.password_expires_at or now + LONGEST_SECONDS),
            must_change_password=user.must_change_password,
            source=source,
            agent=agent[:LONGEST_AGENT],
        )
        await self._store.put_session(session)
        self._keep(session)
        of_user = [live.session.id for live in self._live.values() if live.session.user == user.name]
        for superfluous in of_user[:-MOST_PER_USER]:
            await self.end(superfluous)
        return Opened(session=session, token=token)

    def _keep(self, session: Session) -> None:
        self._live[session.id] = _Live(session=session, seen_at=session.last_seen_at)
        self._by_digest[session.digest] = session.id

    def _is_over(self, live: _Live) -> bool:
        return is_over(replace(live.session, last_seen_at=live.seen_at), self._clock.now(), in_use=live.in_use > 0)

    def _forget(self, session_id: str) -> None:
        if live := self._live.pop(session_id, None):
            del self._by_digest[live.session.digest]
            live.ended.set()

    def _forget_user(self, name: str) -> None:
        for session_id in [key for key, live in self._live.items() if live.session.user == name]:
            self._forget(session_id)
