"""Addresses in URLs, and to which of them the configuration may send the daemon. Pure: names are judged as they are
written; what they resolve to is judged where the connection is made."""

import ipaddress
from urllib.parse import unquote, urlsplit

from modelgrid.decide.addresses import forbidden_address, is_loopback

METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
"""Names under which clouds give a machine's credentials to whoever asks from it."""


ALL_ADDRESSES = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  compared, not bound
"""Who listens on one of these listens on every address of the machine."""


def in_url(host: str) -> str:
    """Return a host name or address as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def reachable(host: str) -> str:
    """Return, as it stands in a URL, what a client on this machine can use for a bind address."""
    return "127.0.0.1" if host in ALL_ADDRESSES else in_url(host)


def is_private_elsewhere(url: str, machine_url: str) -> bool:
    """Whether `url` is for its own machine alone, and that machine, which answers at `machine_url`, is another one."""
    own, other = urlsplit(url).hostname or "", urlsplit(machine_url).hostname or ""
    return is_loopback(own) and not is_loopback(other)


def check_url(url: str) -> str:
    """Return `url` when it is http or https to a host that may be asked, without credentials. Raises `ValueError`."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".").lower()
    if parts.scheme not in {"http", "https"} or not host or parts.port == 0:
        raise ValueError("an http or https URL with a host is expected")
    if parts.username or parts.password:
        raise ValueError("a URL without a user and password is expected: it is shown and logged")
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("a URL without spaces and control characters is expected")
    numeric = _as_number(host)
    if host in METADATA_NAMES or forbidden_address(host) or (numeric and forbidden_address(numeric)):
        raise ValueError("a host that is not link-local is expected: machines keep credentials there")
    return url


def check_catalog_url(url: str) -> str:
    """Like `check_url`, and https, or http to this machine only: what a catalog says is trusted."""
    check_url(url)
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("https is expected, or http to this machine: what a catalog says is trusted")
    return url


def check_catalog_place(place: str) -> str:
    """Return `place` when it is a catalog's URL, or names a file of this machine. Raises `ValueError`."""
    if place.startswith(("http://", "https://")):
        return check_catalog_url(place)
    catalog_path(place)
    return place


def catalog_path(place: str) -> str:
    """Return the absolute path that `place`, or the `file:` URL that it is, names. Raises `ValueError`."""
    path = place
    if place.startswith("file:"):
        parts = urlsplit(place)
        path = unquote(parts.path) if parts.netloc in {"", "localhost"} else ""
    if not path.startswith("/") or "\0" in path:
        raise ValueError("an https URL, /path/to/catalog.json or file:///path/to/catalog.json is expected")
    return path


def _as_number(host: str) -> str | None:
    """Return the address that resolvers read in the old forms of IPv4: `2852039166`, `0xa9.0xfe.0xa9.0xfe`."""
    parts = host.split(".")
    try:
        numbers = [
            int(part, 16 if part.startswith("0x") else 8 if len(part) > 1 and part[0] == "0" else 10) for part in parts
        ]
        if len(parts) > 4 or any(number < 0 for number in numbers):
            return None
        value = numbers[-1]
        for index, number in enumerate(numbers[:-1]):
            value += number << (24 - 8 * index)
        return str(ipaddress.IPv4Address(value))
    except ValueError:
        return None
