"""Cross-origin rules for browsers. The gateway owns them: what a replica says about them is dropped."""

from modelgrid.domain.routing import GatewaySettings

_EXPOSED = b"Access-Control-Expose-Headers: X-Request-Id, Retry-After\r\n"
_PREFLIGHT = (
    b"Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n"
    b"Access-Control-Allow-Headers: *, Authorization\r\n"
    b"Access-Control-Max-Age: 600\r\n"
)
"""The asterisk does not cover Authorization (Fetch standard), so it is named."""


def headers_for(origin: bytes, settings: GatewaySettings, *, preflight: bool = False) -> bytes:
    """Return the header lines for a request from `origin`; none when the origin is not allowed or not given."""
    allowed = settings.cors_origins
    if not origin or not allowed:
        return b""
    if "*" in allowed:
        lines = b"Access-Control-Allow-Origin: *\r\n"
    elif origin.decode("latin-1") in allowed:
        lines = b"Access-Control-Allow-Origin: %b\r\nVary: Origin\r\n" % origin
    else:
        return b"Vary: Origin\r\n"
    return lines + (_PREFLIGHT if preflight else _EXPOSED)
