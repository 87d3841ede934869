"""Who may call: API keys of the data plane, users and tokens of the console."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """Optional bounds of one key. `None`: not bounded."""

    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key of the data plane. The secret itself is shown once and never stored."""

    id: str
    label: str
    prefix: str
    """First 8 characters of the secret, for people to tell keys apart."""
    digest: str
    """SHA-256 of the whole secret, hex."""
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    limits: KeyLimits = KeyLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who may log in to the console."""

    name: str
    password_hash: str
    """argon2id, encoded form."""
    must_change_password: bool = False
    password_expires_at: float | None = None
    """One-time passwords end; chosen ones do not."""
    updated_at: float
