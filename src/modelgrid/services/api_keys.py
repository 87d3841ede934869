"""API keys of the data plane: made, listed, revoked. The secret leaves this module once and is never stored."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from modelgrid.domain.access import ApiKey, KeyLimits
from modelgrid.domain.event import Subject
from modelgrid.domain.key_format import SECRET_BITS, base62, make_secret
from modelgrid.ports.clock import Clock
from modelgrid.ports.secrets import Secrets
from modelgrid.ports.store import Store
from modelgrid.services.credentials import checked_label, resolve
from modelgrid.services.events import EventMaker, Notifier

SHOWN_CHARACTERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    key: ApiKey
    secret: str


class ApiKeyService:
    """Keeps all keys in memory beside the store; `load` comes first."""

    def __init__(self, store: Store, clock: Clock, secrets: Secrets) -> None:
        self._store = store
        self._clock = clock
        self._secrets = secrets
        self._event = EventMaker(clock, Subject.KEY)
        self._keys: dict[str, ApiKey] = {}
        self.changed = Notifier()

    async def load(self) -> None:
        self._keys = {key.id: key for key in await self._store.api_keys()}

    def all(self) -> tuple[ApiKey, ...]:
        return tuple(sorted(self._keys.values(), key=lambda key: key.created_at))

    def active(self) -> tuple[ApiKey, ...]:
        """Keys that a gateway accepts; expiry is the gateway's to check, with its own clock."""
        return tuple(key for key in self.all() if key.revoked_at is None)

    async def generate(
        self, label: str, *, by: str, expires_at: float | None = None, limits: KeyLimits | None = None
    ) -> NewKey:
        """Make a key. Raises `InvalidInput` for a label that is empty, too long or not printable."""
        label = checked_label(label)
        secret = make_secret(self._secrets.integer(SECRET_BITS))
        key = ApiKey(
            id=f"key-{base62(self._secrets.integer(60), 10)}",
            label=label,
            prefix=secret[:SHOWN_CHARACTERS],
            digest=sha256(secret.encode()).hexdigest(),
            created_at=self._clock.now(),
            expires_at=expires_at,
            limits=limits or KeyLimits(),
        )
        event = self._event(key.id, "key_created", f"API key {label!r} ({key.prefix}…) created", by=by)
        await self._store.add_api_key(key, events=[event])
        self._keys[key.id] = key
        self.changed.notify()
        return NewKey(key=key, secret=secret)

    async def revoke(self, text: str, *, by: str) -> ApiKey:
        """Revoke the key with the id, or the only one with the label or prefix `text`. Raises `NotFound`."""
        key = resolve(self._keys.values(), text, noun="key", listed_by="modelgrid config apikey list")
        event = self._event(key.id, "key_revoked", f"API key {key.label!r} ({key.prefix}…) revoked", by=by)
        revoked = await self._store.revoke_api_key(key.id, self._clock.now(), events=[event])
        self._keys[key.id] = revoked
        self.changed.notify()
        return revoked

    async def used(self, last_used: Mapping[str, float]) -> None:
        """Take over when keys were last used, as gateways report it."""
        newer = {
            key_id: at
            for key_id, at in last_used.items()
            if key_id in self._keys and at > (self._keys[key_id].last_used_at or 0)
        }
        if newer:
            await self._store.touch_api_keys(newer)
            for key_id, at in newer.items():
                self._keys[key_id] = replace(self._keys[key_id], last_used_at=at)
