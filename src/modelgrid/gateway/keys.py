"""API keys: found by the SHA-256 of the secret, so that no comparison ever runs over the secret itself."""

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import TYPE_CHECKING

from modelgrid.domain.key_format import is_well_formed
from modelgrid.domain.routing import KeyGrant

if TYPE_CHECKING:
    from modelgrid.gateway.limits import Limiter


class Grant:
    """One key, ready for the hot path."""

    __slots__ = ("expires_at", "id", "label", "limiter", "models")

    def __init__(self, key: KeyGrant, limiter: "Limiter | None") -> None:
        self.limiter = limiter
        self.id = key.id
        self.label = key.label
        self.expires_at = key.expires_at
        self.models = None if key.models is None else frozenset(key.models)

    def allows(self, names: frozenset[str]) -> bool:
        """Whether the key may use a model that goes by any of `names`."""
        return self.models is None or not self.models.isdisjoint(names)


class KeyRing:
    """All keys of one routing table."""

    def __init__(
        self, keys: Iterable[KeyGrant] = (), limiter: "Callable[[KeyGrant], Limiter | None]" = lambda _: None
    ) -> None:
        """`limiter` returns what holds the limits of a key, None for one without any."""
        self._grants = {bytes.fromhex(key.digest): Grant(key, limiter(key)) for key in keys}

    def __len__(self) -> int:
        return len(self._grants)

    def find(self, secret: bytes, now: float) -> Grant | None:
        """Return the grant of `secret` unless it is unknown or has expired at `now` (Unix time).

        A secret with a wrong checksum is not looked up: it was mistyped or made up.
        """
        if not is_well_formed(secret):
            return None
        grant = self._grants.get(sha256(secret).digest())
        if grant is None or (grant.expires_at is not None and grant.expires_at <= now):
            return None
        return grant


def bearer(authorization: bytes) -> bytes | None:
    """Return the secret of an `Authorization: Bearer …` value, or None when it is of another kind."""
    if authorization[:7].lower() != b"bearer ":
        return None
    return authorization[7:].strip()
