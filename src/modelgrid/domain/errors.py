"""The exception tree. Every error names what was wrong and how to mend it.

`code` is stable and for machines, `message` is one sentence for people, `fix` says what to do next,
`details` carries the facts (JSON values only). The API turns `status` into the HTTP status, the command
line turns `exit_code` into its exit status.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class ModelGridError(Exception):
    """Base of everything ModelGrid raises on purpose."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, fix: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.details: Mapping[str, Any] = details

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".strip()


class InvalidInput(ModelGridError):
    """What was asked is malformed or not allowed by its schema."""

    code = "invalid_input"
    status = 422
    exit_code = 2


class InvalidConfig(InvalidInput):
    """The configuration file or a value in it is not usable. Nothing of it was applied."""

    code = "invalid_config"


class Unauthenticated(ModelGridError):
    """No credential, or one that is not known."""

    code = "unauthenticated"
    status = 401


class Forbidden(ModelGridError):
    """The credential is known and does not carry this right."""

    code = "forbidden"
    status = 403


class InvitationRefused(Forbidden):
    """The node that wants to join was not invited (any more), or asked somebody else than who invited it."""

    code = "invitation_refused"


class PasswordChangeRequired(Forbidden):
    """The session was opened with a one-time password, which has to be changed before anything else."""

    code = "password_change_required"


class CrossSite(Forbidden):
    """A page of another site made the browser call."""

    code = "cross_site"


class MalformedRequest(ModelGridError):
    """The call breaks the rules of HTTP."""

    code = "malformed_request"
    status = 400


class Misdirected(ModelGridError):
    """The call was made to a host name that is not ours."""

    code = "misdirected"
    status = 421


class TooLarge(ModelGridError):
    """The body of the call is larger than any call needs."""

    code = "too_large"
    status = 413


class TooManyRequests(ModelGridError):
    """Come back after `details["retry_after"]` seconds."""

    code = "too_many_requests"
    status = 429


class NotFound(ModelGridError):
    """The named object does not exist."""

    code = "not_found"
    status = 404


class Ambiguous(NotFound):
    """What was named may be several objects; which, `fix` says."""


class Conflict(ModelGridError):
    """The object's present state or origin does not allow this, or somebody else changed it first."""

    code = "conflict"
    status = 409


class PreconditionFailed(Conflict):
    """`If-Match` names another state of the object than it has: somebody else changed it first."""

    code = "precondition_failed"
    status = 412

    @classmethod
    def at_revision(cls, what: str, revision: int) -> "PreconditionFailed":
        """Return the error for a thing that is at another revision than its writer knew; 0: it does not exist."""
        state = f"is at revision {revision} now" if revision else "does not exist"
        return cls(
            f"{what} {state}: somebody else changed it first.",
            fix="Read it again and repeat the change.",
            revision=revision,
        )


class StorageFull(ModelGridError):
    """The state could not be written because the disk is full. Nothing was acknowledged."""

    code = "storage_full"
    status = 507


class StoreUnavailable(ModelGridError):
    """The state database does not answer."""

    code = "store_unavailable"
    status = 503


class RuntimeUnavailable(ModelGridError):
    """The engine runtime (Docker, Podman, …) does not answer, so the state of its engines is *unknown*."""

    code = "runtime_unavailable"
    status = 503


class LaunchRefused(ModelGridError):
    """The runtime answered and will not start this engine as specified; trying again as-is is useless."""

    code = "launch_refused"
    status = 422


class ControlPlaneUnreachable(ModelGridError):
    """The node's control plane does not answer. `details["refused"]`: its host does, and nobody listens there."""

    code = "control_plane_unreachable"
    status = 502


class DaemonUnreachable(ModelGridError):
    """The command line could not reach the daemon."""

    code = "daemon_unreachable"
    status = 503
