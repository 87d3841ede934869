"""`ports.Secrets` with AES-256-GCM and the operating system's random source."""

import base64
import binascii
import hmac
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from modelgrid.adapters.secrets_file.key_file import load_or_create
from modelgrid.domain.errors import InvalidInput
from modelgrid.ports.secrets import Secrets

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_FILE = "secret.key"
_PREFIX = "sealed1."
"""Names the format; also the associated data, so that a value cannot be passed off as one of another format."""
_NONCE_BYTES = 12
"""96 bits: the nonce size NIST SP 800-38D recommends. Random nonces are safe for 2**32 values of one key."""


class FileSecrets(Secrets):
    """Seals with the key in `<state directory>/secret.key`, which is made at the first `seal`, `unseal` or `derive`.

    Calls block for microseconds, `derive` and the first `seal` or `unseal` for the reading of a small file. Safe to use
    from several threads. `derive` and the first of the others raise `InvalidConfig` when the key file is not usable."""

    def __init__(self, state_directory: Path) -> None:
        self._path = state_directory / KEY_FILE
        self._cipher: AESGCM | None = None
        self._lock = threading.Lock()

    def token(self, bits: int) -> str:
        return secrets.token_urlsafe(-(-bits // 8))

    def integer(self, bits: int) -> int:
        return secrets.randbits(bits)

    def seal(self, plaintext: str) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._open_cipher().encrypt(nonce, plaintext.encode(), _PREFIX.encode())
        return _PREFIX + base64.urlsafe_b64encode(nonce + sealed).decode()

    def unseal(self, sealed: str) -> str:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # slow to import, see _open_cipher

        if not sealed.startswith(_PREFIX):
            raise InvalidInput("This is not a sealed value.", fix="Set the secret anew.")
        try:
            packed = base64.b64decode(sealed[len(_PREFIX) :], altchars=b"-_", validate=True)
            opened = self._open_cipher().decrypt(packed[:_NONCE_BYTES], packed[_NONCE_BYTES:], _PREFIX.encode())
        except (binascii.Error, ValueError, InvalidTag) as error:
            raise InvalidInput(
                "A sealed value cannot be opened: it was sealed with another key, or it was changed.",
                fix=f"Restore the {KEY_FILE} that belongs to this database, or set the secret anew.",
            ) from error
        return opened.decode()

    def derive(self, purpose: str) -> bytes:
        # HKDF-Expand (RFC 5869) for one block; the key is random, which is what its first half would see to.
        return hmac.digest(load_or_create(self._path), purpose.encode() + b"\x01", "sha256")

    def _open_cipher(self) -> "AESGCM":
        with self._lock:
            if self._cipher is None:
                # Imported at first use: OpenSSL takes 10 MiB, and longer than the rest of a warm start's reads.
                from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

                self._cipher = AESGCM(load_or_create(self._path))
            return self._cipher
