"""Whether the certificate that the configuration names can be served with."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from modelgrid.config.model import Config
from modelgrid.services.settings import refused


def check_certificate(config: Config) -> None:
    """Raise `InvalidConfig` when the files of `api.tls` are no certificate that is valid and its key. Blocks."""
    tls = config.api.tls
    if tls is None:
        return
    try:
        # Without a password OpenSSL would ask for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert_file, tls.key_file, password=lambda: "")
        ended = _ended(Path(tls.cert_file).read_bytes())
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise refused("api.tls", tls.cert_file, f"a certificate and its key in PEM are expected ({said})") from None
    if ended:
        raise refused("api.tls", tls.cert_file, f"a certificate that is valid is expected; this one ended on {ended}")


def _ended(pem: bytes) -> str:
    """Return the day on which the certificate ended; empty while it is valid."""
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415  only with TLS, and slow to import

    end = load_pem_x509_certificate(pem).not_valid_after_utc
    return f"{end:%Y-%m-%d}" if end < datetime.now(UTC) else ""
