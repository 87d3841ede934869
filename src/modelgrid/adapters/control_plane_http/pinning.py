"""TLS with exactly one peer: whoever shows another certificate is not it, whatever name it has."""

import asyncio
import ssl
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import urlsplit

import httpx

from modelgrid.adapters.egress import RefusedAddress, judged
from modelgrid.config.urls import check_url
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


def address_in(url: str) -> tuple[str, int]:
    """Return the host and port of a control plane's URL. Raises `InvalidInput` for one that is not `https://host:port`,
    or names an address that nothing is asked of."""
    try:
        parts = urlsplit(check_url(url))
        host, port = parts.hostname or "", parts.port or 443
        host.encode("idna")
    except ValueError as error:
        raise _no_address(url, str(error)) from None
    if parts.scheme != "https":
        raise _no_address(url, "https is expected")
    return host, port


def _no_address(url: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{url!r} is not the address of a control plane: {why}.", fix="Give it as https://host:8082.", path="url"
    )


async def seen_certificate(url: str) -> str:
    """Return the certificate (PEM) that answers at `url`, whosever it is. Nothing is sent.

    Raises `InvalidInput` as `address_in` does, and where the name leads to such an address; `ControlPlaneUnreachable`.
    """
    host, port = address_in(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # judged below, before a byte is sent
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            writer = await _opened(await judged(host, port), host, port, context)
    except RefusedAddress as error:
        raise _no_address(url, str(error)) from error
    except (OSError, TimeoutError, httpx.ConnectError) as error:
        raise ControlPlaneUnreachable(
            f"No control plane answers at {where}: {_words(error)}.",
            fix="Check the address, that the control plane runs with cluster.role control-plane, and the firewall.",
            refused=isinstance(error, ConnectionRefusedError),
        ) from error
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return ssl.DER_cert_to_PEM_cert(der)


async def _opened(addresses: Sequence[str], host: str, port: int, context: ssl.SSLContext) -> asyncio.StreamWriter:
    """Return a connection to the first of the addresses that answers."""
    for address in addresses[:-1]:
        try:
            return (await asyncio.open_connection(address, port, ssl=context, server_hostname=host))[1]
        except OSError:
            continue  # the last one says why there is none
    return (await asyncio.open_connection(addresses[-1], port, ssl=context, server_hostname=host))[1]


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
