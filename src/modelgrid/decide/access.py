"""Who may make which call of the console port. Decided on method and path, before anything else looks at the call."""

from modelgrid.domain.access import CallerKind, Principal, Role
from modelgrid.domain.errors import Forbidden, ModelGridError, PasswordChangeRequired, Unauthenticated

API = "/v1/"
"""All calls are below this. Everything else on the port are the console's own files, which hold no secret."""
UI = "/v1/_ui"

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""They change nothing."""

_OPEN = frozenset({("GET", f"{UI}/health"), ("POST", f"{UI}/login")})
_OF_EVERY_SESSION = frozenset({("GET", f"{UI}/session"), ("POST", f"{UI}/logout"), ("POST", f"{UI}/password")})
"""What a session may do with itself, whatever its role, and before its password is changed."""
_FOR_ADMINS = (f"{UI}/sessions", f"{UI}/tokens", f"{UI}/audit")
"""What a viewer may not even read: who has access."""


def refusal(caller: Principal | None, method: str, path: str) -> ModelGridError | None:
    """Return why the call is refused, `None` when it may go on. `caller` is `None` for one without a credential."""
    if (method, path) in _OPEN or (method in SAFE_METHODS and not path.startswith(API)):
        return None
    if caller is None:
        return Unauthenticated(
            "This needs a credential.",
            fix="Log in, or send `Authorization: Bearer` with the token in the file `token` of the state directory.",
        )
    return None if (method, path) in _OF_EVERY_SESSION else _lacking(caller, method, path)


def _lacking(caller: Principal, method: str, path: str) -> ModelGridError | None:
    """Return which right the caller lacks."""
    if caller.must_change_password:
        return PasswordChangeRequired(
            "The one-time password has to be changed first.", fix="Choose a password: POST /v1/_ui/password."
        )
    if path.startswith(f"{UI}/users/") and caller.kind is not CallerKind.LOCAL:
        return Forbidden(
            "A password is set without the present one on the daemon's machine only.",
            fix="Change your own with POST /v1/_ui/password, or run `modelgrid config user passwd` there.",
        )
    if caller.role is Role.VIEWER and (method not in SAFE_METHODS or _is_below(path, _FOR_ADMINS)):
        return Forbidden("A viewer may only read.", fix="Use a credential with the role `admin`.", role="viewer")
    return None


def _is_below(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)
