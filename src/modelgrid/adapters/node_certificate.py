"""The certificate with which this node answers other nodes. Nobody signs it and no name in it is checked: whoever is to
trust the node is told the whole certificate beforehand.

Two files in one folder, `node.pem` and `node.key`, made once and kept for as long as the node is a member.
"""

import fcntl
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelgrid.domain.errors import InvalidConfig

FOLDER = "cluster"
"""Of the state directory."""
VALID_YEARS = 10
_VALID_BEFORE = timedelta(days=2)
"""Clocks of nodes may be off; one that is an hour behind must still see a certificate that is valid already."""


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    """Where it is. Both files are PEM, readable by the daemon's user only."""

    certificate: Path
    key: Path

    @property
    def pem(self) -> str:
        """The certificate, as other nodes are to know it. Reads the file."""
        return self.certificate.read_text()


def certificate_in(folder: Path) -> NodeCertificate:
    """Return where the certificate of a node is kept, whether it is there or not."""
    return NodeCertificate(folder / "node.pem", folder / "node.key")


def ensure_certificate(folder: Path, name: str) -> NodeCertificate:
    """Return the node's certificate; make it for a node called `name` when there is none.

    Safe to call from several processes at once. A crash leaves both files or a key that is replaced the next time.
    Blocking: a look at two files, or some ten milliseconds. Raises `InvalidConfig` when it cannot be made or used."""
    files = certificate_in(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not files.certificate.exists():
                _make(files, name)
                os.fsync(lock)
            elif not files.key.exists():
                raise InvalidConfig(
                    f"The key {files.key} of this node's certificate is gone.",
                    fix=f"Restore it, or remove {files.certificate} and let the node join again with a new one.",
                )
            files.key.chmod(0o600)
        finally:
            os.close(lock)
    except OSError as error:
        raise InvalidConfig(
            f"The certificate of this node in {folder} cannot be used: {error.strerror}.",
            fix="Give the daemon's user read and write access to its state directory.",
        ) from error
    return files


def _make(files: NodeCertificate, name: str) -> None:
    from cryptography import x509  # noqa: PLC0415  slow to import, and needed once in the life of a node
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(called, called, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _VALID_BEFORE)
        .not_valid_after(now + timedelta(days=365 * VALID_YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, SHA256())
    )
    # The certificate comes last: where it is, its key is.
    _write(files.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    _write(files.certificate, certificate.public_bytes(Encoding.PEM))


def _write(path: Path, text: bytes) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
