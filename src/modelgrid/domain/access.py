"""Who may call: API keys of the data plane, users and tokens of the console."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a caller of the console API may do."""

    ADMIN = "admin"
    VIEWER = "viewer"
    """Reads, and sees neither secrets nor who has access."""


class CallerKind(StrEnum):
    SESSION = "session"
    TOKEN = "token"  # noqa: S105  a word of the API
    LOCAL = "local"
    """Whoever can read the daemon's token file: the operator on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who makes a call of the console API."""

    name: str
    """The user, `token NAME`, or `local`; the audit shows it."""
    kind: CallerKind
    role: Role
    id: str = ""
    """Of the session or token; empty for the local operator."""
    must_change_password: bool = False
    expires_at: float | None = None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A login that has not ended. The cookie's token itself is not stored."""

    id: str
    digest: str
    """SHA-256 of the token, hex."""
    user: str
    created_at: float
    last_seen_at: float
    expires_at: float
    """The absolute limit; an idle session ends earlier."""
    must_change_password: bool = False
    """Opened with a one-time password, and good for nothing but changing it."""
    source: str = ""
    """Address it was opened from."""
    agent: str = ""
    """What the browser called itself, for people to tell sessions apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A credential of the console API for scripts. The secret itself is shown once and never stored."""

    id: str
    label: str
    prefix: str
    """The beginning of the secret, for people to tell tokens apart."""
    digest: str
    """SHA-256 of the whole secret, hex."""
    role: Role
    created_at: float
    created_by: str = ""
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
