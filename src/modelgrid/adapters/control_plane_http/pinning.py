"""TLS with exactly one peer: whoever shows another certificate is not it, whatever name it has."""

import asyncio
import ssl
from hashlib import sha256
from urllib.parse import urlsplit

from modelgrid.domain.errors import ControlPlaneUnreachable, InvalidInput, InvitationRefused

HANDSHAKE_SECONDS = 10.0


def pinned_to(certificate: str) -> ssl.SSLContext:
    """Return a context that trusts the certificate (PEM) and nothing else. Names are not compared: a node is known by
    its certificate, and may be called by any of its addresses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=certificate)
    return context


def fingerprint_of(certificate: str) -> str:
    """Return the SHA-256 of a certificate (PEM) in DER, hex."""
    return sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()


async def certificate_at(url: str, fingerprint: str) -> str:
    """Return the certificate (PEM) that answers at `url` when its fingerprint is the one expected. Nothing is sent.

    Raises what `seen_certificate` raises, and `InvitationRefused` when somebody else answers."""
    certificate = await seen_certificate(url)
    found = fingerprint_of(certificate)
    if found != fingerprint:
        raise InvitationRefused(
            f"Whoever answers at {url} is not the control plane that the invitation is from: its certificate is "
            f"{found[:16]}…, expected {fingerprint[:16]}….",
            fix="Nothing was sent. Check the address, and what sits between the two; or get a new invitation.",
        )
    return certificate


async def seen_certificate(url: str) -> str:
    """Return the certificate (PEM) that answers at `url`, whosever it is. Nothing is sent.

    Raises `InvalidInput` for a URL that is not `https://host:port`, and `ControlPlaneUnreachable`."""
    address = urlsplit(url)
    if address.scheme != "https" or not address.hostname:
        raise InvalidInput(
            f"{url!r} is not the address of a control plane.", fix="Give it as https://host:8082.", path="url"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # judged below, before a byte is sent
    where = f"{address.hostname}:{address.port or 443}"
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            _, writer = await asyncio.open_connection(address.hostname, address.port or 443, ssl=context)
    except (OSError, TimeoutError) as error:
        raise ControlPlaneUnreachable(
            f"No control plane answers at {where}: {_words(error)}.",
            fix="Check the address, that the control plane runs with cluster.role control-plane, and the firewall.",
            refused=isinstance(error, ConnectionRefusedError),
        ) from error
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return ssl.DER_cert_to_PEM_cert(der)


def _words(error: Exception) -> str:
    """Say why there was no handshake, as an operator would."""
    match error:
        case ConnectionRefusedError():
            return "nobody listens there"
        case TimeoutError():
            return "no answer in time"
        case ssl.SSLError():
            return "whoever listens there does not speak TLS as nodes do (the port of the console, or of the API?)"
        case OSError(strerror=str() as reason) if reason:
            return reason
    return str(error) or type(error).__name__
