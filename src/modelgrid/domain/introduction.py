"""How two who share a secret (`cluster.sharedSecret`) make sure of each other without saying it.

The control plane proves first that it knows the secret *and* holds the certificate that the node sees; a stranger in
between holds another one. Then the node proves likewise what it says of itself. The key is stretched with scrypt, so
that whoever hears a proof cannot try words quickly.
"""

import hmac
from hashlib import scrypt, sha256

NONCE_BYTES = 16
_SALT = b"modelgrid cluster introduction 1"
_COST, _BLOCK = 2**14, 8
"""scrypt's N and r: 16 MiB and some 50 ms per guess (RFC 7914)."""


def stretched(secret: str) -> bytes:
    """Return the key of a shared secret. Blocks for some 50 ms."""
    return scrypt(secret.encode(), salt=_SALT, n=_COST, r=_BLOCK, p=1, dklen=32)


def control_proof(key: bytes, nonce: str, fingerprint: str) -> str:
    """Return what only a control plane can say that knows the secret and has the certificate with `fingerprint`."""
    return _proof(key, "control-plane", nonce, fingerprint)


def node_proof(key: bytes, nonce: str, name: str, certificate: str) -> str:
    """Return what only a node can say that knows the secret: that it has this name and this certificate (PEM)."""
    return _proof(key, "node", nonce, name, sha256(certificate.encode()).hexdigest())


def same(one: str, other: str) -> bool:
    """Compare two proofs in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def _proof(key: bytes, *parts: str) -> str:
    return hmac.new(key, "\0".join(parts).encode(), sha256).hexdigest()
