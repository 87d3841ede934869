"""Tokens of the console API for scripts. The secret leaves this module once and is never stored."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256

import structlog

from modelgrid.domain.access import AccessToken, Role
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.event import Subject
from modelgrid.domain.key_format import SECRET_BITS, TOKEN_PREFIX, base62, make_secret
from modelgrid.ports.clock import Clock
from modelgrid.ports.secrets import Secrets
from modelgrid.ports.store import Store
from modelgrid.services.credentials import checked_label, resolve
from modelgrid.services.events import EventMaker

SHOWN_CHARACTERS = 9
TIDY_SECONDS = 10.0
USED_SECONDS = 60.0
"""When a token was last used is written no oftener."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    token: AccessToken
    secret: str


class TokenService:
    """Keeps all tokens in memory beside the store; `load` comes first."""

    def __init__(self, store: Store, clock: Clock, secrets: Secrets) -> None:
        self._store = store
        self._clock = clock
        self._secrets = secrets
        self._event = EventMaker(clock, Subject.TOKEN)
        self._tokens: dict[str, AccessToken] = {}
        self._by_digest: dict[str, str] = {}
        self._unwritten: dict[str, float] = {}
        """When tokens were last used, by id, where the store does not have it yet."""
        self._streams: dict[str, asyncio.Event] = {}
        """Of tokens that calls are open with; set when the token does not hold any more."""

    async def load(self) -> None:
        for token in await self._store.access_tokens():
            self._keep(token)

    def all(self) -> tuple[AccessToken, ...]:
        """Return all tokens, oldest first, with the time they were last used."""
        newest = (
            replace(token, last_used_at=self._unwritten.get(token.id, token.last_used_at))
            for token in self._tokens.values()
        )
        return tuple(sorted(newest, key=lambda token: token.created_at))

    async def generate(self, label: str, role: Role, *, by: str, expires_at: float | None = None) -> NewToken:
        """Make a token. Raises `InvalidInput` for a label that is empty, too long or not printable."""
        label = checked_label(label)
        secret = make_secret(self._secrets.integer(SECRET_BITS), TOKEN_PREFIX)
        token = AccessToken(
            id=f"token-{base62(self._secrets.integer(60), 10)}",
            label=label,
            prefix=secret[:SHOWN_CHARACTERS],
            digest=sha256(secret.encode()).hexdigest(),
            role=role,
            created_at=self._clock.now(),
            created_by=by,
            expires_at=expires_at,
        )
        said = f"token {label!r} ({token.prefix}…) created for a {role}"
        await self._store.add_access_token(token, events=[self._event(token.id, "token_created", said, by=by)])
        self._keep(token)
        return NewToken(token=token, secret=secret)

    async def revoke(self, text: str, *, by: str) -> AccessToken:
        """Revoke the token with the id, or the only one with the label or prefix `text`: its next call is refused,
        its streams close. Raises `NotFound`."""
        token = resolve(self._tokens.values(), text, noun="token", listed_by="modelgrid config token list")
        event = self._event(token.id, "token_revoked", f"token {token.label!r} ({token.prefix}…) revoked", by=by)
        revoked = await self._store.revoke_access_token(token.id, self._clock.now(), events=[event])
        self._keep(revoked)
        self._close_streams()
        return revoked

    def find(self, secret: str) -> AccessToken | None:
        """Return the token with that secret, if it holds."""
        token = self._tokens.get(self._by_digest.get(sha256(secret.encode()).hexdigest(), ""))
        return token if token is not None and self._holds(token) else None

    @contextmanager
    def use(self, token: AccessToken) -> Iterator[asyncio.Event]:
        """Note that the token is used; the event is set when it does not hold any more."""
        self._unwritten[token.id] = self._clock.now()
        yield self._streams.setdefault(token.id, asyncio.Event())

    async def run(self) -> None:
        """Close the streams of tokens that have expired, and write down when the others were used. Runs for ever."""
        while True:
            await self._clock.sleep(TIDY_SECONDS)
            try:
                await self.tidy()
            except ModelGridError as error:
                log.warning("use of tokens not written", error=str(error))

    async def tidy(self) -> None:
        self._close_streams()
        due = {
            key: at
            for key, at in self._unwritten.items()
            if at - (self._tokens[key].last_used_at or 0.0) >= USED_SECONDS
        }
        await self._store.touch_access_tokens(due)
        for key, at in due.items():
            self._tokens[key] = replace(self._tokens[key], last_used_at=at)

    def _keep(self, token: AccessToken) -> None:
        self._tokens[token.id] = token
        self._by_digest[token.digest] = token.id

    def _holds(self, token: AccessToken) -> bool:
        return token.revoked_at is None and (token.expires_at is None or token.expires_at > self._clock.now())

    def _close_streams(self) -> None:
        for token_id in [key for key in self._streams if not self._holds(self._tokens[key])]:
            self._streams.pop(token_id).set()
