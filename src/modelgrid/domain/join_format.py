"""How an invitation is written: `mgj-<secret>.<SHA-256 of the control plane's certificate>`. Node credentials begin
with `mgn-`. Whoever has an invitation can tell the control plane from an impostor before a word was said."""

import re
from dataclasses import dataclass, field
from hashlib import sha256

from modelgrid.domain.errors import InvalidInput

JOIN_PREFIX = "mgj-"
NODE_PREFIX = "mgn-"
_SHAPE = re.compile(r"mgj-[0-9A-Za-z]{32,64}\.[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    secret: str = field(repr=False)
    fingerprint: str
    """SHA-256 of the control plane's certificate in DER, hex."""

    def __str__(self) -> str:
        return f"{self.secret}.{self.fingerprint}"


def parse_invitation(text: str) -> Invitation:
    """Raises `InvalidInput` for a text that is not an invitation, or not a whole one."""
    if not _SHAPE.fullmatch(text.strip()):
        raise InvalidInput(
            "That is not an invitation: it begins with `mgj-` and ends with 64 hexadecimal digits after a dot.",
            fix="Copy the whole token from Cluster ▸ Nodes ▸ Add node, or from `modelgrid cluster invite`.",
            path="token",
        )
    secret, _, fingerprint = text.strip().partition(".")
    return Invitation(secret=secret, fingerprint=fingerprint)


def digest_of(secret: str) -> str:
    """Return what is stored of a secret."""
    return sha256(secret.encode()).hexdigest()
