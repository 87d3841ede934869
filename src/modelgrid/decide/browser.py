"""What a browser can be tricked into, told by the headers it sends: calls from other sites, and names that lie.

**Calls from other sites (CSRF).** There is no token in forms. Browsers say themselves where a call comes from:
`Sec-Fetch-Site` (all browsers since 2023, over TLS and on localhost), and `Origin` (every browser since 2020, on every
call that is no GET or HEAD). Only `same-origin` will do: `same-site` includes other ports of this machine, and with
them cookies come along, `SameSite=Strict` or not. Without `Sec-Fetch-Site` the origin has to name the host that was
called. Its scheme is not compared, because a proxy may speak TLS for us. With neither header the caller is no browser,
or a very old one; such a call may not lean on a cookie. Calls with `Authorization` are not looked at: no other site can
make a browser send it. See Filippo Valsorda, "Cross-Site Request Forgery" (2025), and datasette's `csrf.py`.

**Names that lie (DNS rebinding).** A page of `evil.example` whose name is pointed at this machine is of the same
origin as itself, so it can read what it likes. But its calls say `Host: evil.example`. So the name has to be one that
this daemon is known by. An address is nobody's name and cannot be pointed elsewhere, so every address will do.
"""

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

LOOPBACK_NAME = "localhost"


def host_name(host: str) -> str | None:
    """Return the name or address in a `Host` header, without port and final dot; `None` when it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if not name or parts.netloc != host or "@" in host or not host.isascii() or any(c.isspace() for c in host):
        return None
    return name.removesuffix(".").lower()


def is_known_host(name: str, known: Collection[str]) -> bool:
    """Tell whether a console that is known as `known` may be called by that name."""
    if name == LOOPBACK_NAME or name in {item.removesuffix(".").lower() for item in known}:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def cross_site_reason(*, host: str, fetch_site: str | None, origin: str | None, has_cookie: bool) -> str:
    """Return why a call that changes something is refused as one of another site; empty: it is none.

    `host` is the `Host` header, `has_cookie` tells whether the call comes with a session's cookie."""
    if fetch_site is not None:
        return (
            "" if fetch_site in {"same-origin", "none"} else f"it was made by a page of another origin ({fetch_site})"
        )
    if origin is not None:
        same = urlsplit(origin).netloc.lower() == host.lower()
        return "" if same else "it was made by a page of another origin"
    return "it came with a cookie and does not say which page made it" if has_cookie else ""
