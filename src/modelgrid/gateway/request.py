"""One request of a client, as it is read off the wire."""

import re
from time import perf_counter
from typing import Final

from modelgrid.domain.routing import GatewaySettings
from modelgrid.gateway.endpoints import Endpoint, resolve
from modelgrid.gateway.errors import ApiForm, Refusal
from modelgrid.gateway.keys import Grant, KeyRing, bearer
from modelgrid.gateway.limits import Ticket
from modelgrid.gateway.peers import DEPLOYMENT, PREFIX, WAIT, PeerRing
from modelgrid.gateway.shapes import Fields

_HOST: Final = re.compile(rb"[A-Za-z0-9.\-_]{1,253}(?::\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

_READ: Final = frozenset((
    b"host", b"authorization", b"x-api-key", b"content-length", b"transfer-encoding", b"connection", b"expect",
    b"x-request-id", b"origin", b"content-encoding", b"content-type", b"x-session-id", DEPLOYMENT, WAIT,
))  # fmt: skip
"""Headers the gateway acts on. Of these only Content-Type and X-Session-Id go on to the replica."""
_DROPPED: Final = frozenset((
    b"cookie", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"upgrade",
    b"http2-settings", b"accept-encoding", b"forwarded", b"x-forwarded-for", b"x-forwarded-host",
    b"x-forwarded-proto", b"x-real-ip",
))  # fmt: skip
"""Hop-by-hop or not the replica's business. Accept-Encoding, because `usage` and events are read from the answer."""
_SPECIAL: Final = _READ | _DROPPED

UNAUTHENTICATED: Final = Refusal(
    status=401,
    code="invalid_api_key",
    message="No valid API key was given. Send one as 'Authorization: Bearer mg-…'.",
)
NO_PEER: Final = Refusal(
    status=401,
    code="invalid_api_key",
    message="This port is for the gateways of other nodes. Clients are served on api.port.",
    close=True,
)
_NO_PATH: Final = Refusal(status=404, code="not_found", message="There is no such path. The API lives under /v1.")


def _malformed(message: str) -> Refusal:
    return Refusal(status=400, code="malformed_request", message=message, close=True)


class Request:
    """Head, body and what was decided about them. `add_header` and `add_body` are called by the parser."""

    # Defaults live in the class: most requests set few of them, and making a request is on the hot path.
    url = b""
    method = b""
    version = "1.1"
    path = b""
    query = b""
    content_type = b""
    client_id = b""
    """The client's own request id when it is well-formed, else empty."""
    origin = b""
    session = b""
    """What keeps the requests of one conversation on one replica; the client's own choice."""
    keep_alive = True
    grant: Grant | None = None
    endpoint: Endpoint | None = None
    form = ApiForm.OPENAI
    refusal: Refusal | None = None
    ticket: Ticket | None = None
    """What it holds of its key's limits."""
    fields: Fields | None = None
    """What the body says, once it was admitted."""
    extra_headers = b""
    """Lines for the client, whatever the answer."""
    deployment = ""
    """Of a peer's gateway: the engine that it has chosen. Not to be looked at in requests of clients."""
    waits = False
    """Of a peer's gateway: it may stand in line here."""
    head_bytes = 0
    size = 0
    _hosts = 0
    _content_types = 0
    _host = b""
    _secrets = 0
    _secret = b""
    _length = -1
    _transfer = b""
    _connection = b""
    _expect = b""
    _encoding = b""

    def __init__(self) -> None:
        self.started = perf_counter()
        self.headers: list[bytes] = []
        """Lines that go on to the replica, each with its line end."""
        self._parts: list[bytes] = []

    def learnable(self, length: int) -> bool:
        """Whether the same head (but for the digits of its Content-Length, here `length`) may be known by its bytes
        from now on: the head of a good request for a replica that nothing but its body is missing of."""
        return (
            self.refusal is None
            and self.endpoint is not None
            and self.grant is not None
            and self.keep_alive
            and not self.client_id  # changes with every request
            and not self._expect
            and not self._transfer
            and self._length == length
        )

    def again(self) -> "Request":
        """Return a request with the head of this one and no body yet. Only for a `learnable` one that is checked."""
        other = Request()
        other.method = self.method
        other.path = self.path
        other.query = self.query
        other.content_type = self.content_type
        other.origin = self.origin
        other.session = self.session
        other.grant = self.grant
        other.endpoint = self.endpoint
        other.form = self.form
        other.headers = self.headers if len(self.headers) == 1 else [b"".join(self.headers)]
        return other

    def head_for(self, host_header: bytes, request_id: bytes, length: int) -> bytes:
        """Return the head of this request as it goes to a replica; `host_header`: of `ReplicaEntry`."""
        endpoint = self.endpoint
        assert endpoint is not None  # noqa: S101 (only requests for an endpoint go to replicas)
        target = endpoint.path + b"?" + self.query if self.query else endpoint.path
        lines = b"".join(self.headers)
        return b"POST %b%b%bX-Request-Id: %b\r\nContent-Length: %d\r\n\r\n" % (
            target, host_header, lines, request_id, length,
        )  # fmt: skip

    def expired(self, now: float) -> bool:
        """Whether the key of this request has expired at `now` (Unix time)."""
        until = self.grant.expires_at if self.grant is not None else 0.0
        return until is not None and until <= now

    @property
    def announced(self) -> int:
        """The Content-Length; 0 without one."""
        return max(0, self._length)

    @property
    def expects_continue(self) -> bool:
        """The client waits for `100 Continue` before it sends the body."""
        return self._expect == b"100-continue" and self.version == "1.1"

    def framing(self) -> bytes:
        """Return the header line that says where the body ends; empty without a body."""
        if self._transfer:
            return b"Transfer-Encoding: chunked\r\n"
        return b"Content-Length: %d\r\n" % self._length if self._length > 0 else b""

    def add_header(self, name: bytes, value: bytes) -> None:
        """Take one header line."""
        self.head_bytes += len(name) + len(value) + 4
        key = name.lower()
        if key not in _SPECIAL and not key.startswith(PREFIX):
            self.headers.append(b"%b: %b\r\n" % (name, value))
        elif key == b"content-type":
            self._content_types += 1
            self.content_type = value
            self.headers.append(b"Content-Type: %b\r\n" % value)
        elif key == b"x-session-id":
            self.session = value
            self.headers.append(b"X-Session-Id: %b\r\n" % value)
        elif key == b"host":
            self._hosts += 1
            self._host = value
        elif key == b"authorization":
            self._add_secret(bearer(value) or b"")
        elif key == b"content-length":
            self._length = int(value)  # llhttp let digits pass only, at most one such header, and no overflow
        elif key in _READ:
            self._read_header(key, value)

    def _add_secret(self, secret: bytes) -> None:
        # Two credentials that differ: which one counts would be a guess.
        self._secret = b"" if self._secrets and self._secret != secret else secret
        self._secrets += 1

    def _read_header(self, key: bytes, value: bytes) -> None:
        if key == b"x-api-key":
            self._add_secret(value)
        elif key == b"connection":
            self._connection = self._connection + b"," + value if self._connection else value
        elif key == b"transfer-encoding":
            coding = value.strip().lower()  # each further line makes a list, of which none is understood
            self._transfer = self._transfer + b"," + coding if self._transfer else coding
        elif key == b"x-request-id":
            self.client_id = value if _REQUEST_ID.fullmatch(value) else b""
        elif key == b"expect":
            self._expect = value.strip().lower()
        elif key == b"origin":
            self.origin = value
        elif key == DEPLOYMENT:
            self.deployment = value.decode("latin-1")
        elif key == WAIT:
            self.waits = value == b"yes"
        else:
            self._encoding = value.strip().lower()

    def add_body(self, data: bytes, limit: int) -> None:
        """Take one piece of the body; past `limit` bytes the request is refused and the rest is not kept."""
        if self.refusal is not None:
            return
        self.size += len(data)
        if self.size > limit:
            self._parts.clear()
            self.refusal = _too_large(limit)
        else:
            self._parts.append(data)

    def take_body(self) -> bytes:
        """Return the whole body and let go of it."""
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        return body

    def check_head(self, keys: KeyRing, settings: GatewaySettings, now: float) -> Refusal | None:
        """Decide what can be decided before the body is read; `now` is Unix time.

        Order: framing first (it also decides whether the connection can be kept), then the key, and only for a valid
        key anything that tells paths, models or limits apart.
        """
        self.path, _, self.query = self.url.partition(b"?")
        self.endpoint = endpoint = resolve(self.path)
        if endpoint is not None:
            self.form = endpoint.form
        return (
            self._check_framing(settings)
            or self._check_key(keys, now)
            or self._check_target()
            or self._check_size(settings)
        )

    def check_head_of_peer(self, peers: PeerRing, settings: GatewaySettings) -> Refusal | None:
        """`check_head` for a request of a peer's gateway: only for engines, and only with the credential of a node."""
        self.path, _, self.query = self.url.partition(b"?")
        self.endpoint = endpoint = resolve(self.path)
        if endpoint is not None:
            self.form = endpoint.form
        refusal = self._check_framing(settings)
        if refusal is not None:
            return refusal
        self.grant = peers.find(self._secret) if self._secret else None
        if self.grant is None:
            return NO_PEER
        if endpoint is None or self.method == b"OPTIONS":  # what gateways answer themselves is for clients
            return _NO_PATH
        return self._check_target() or self._check_size(settings)

    def _check_framing(self, settings: GatewaySettings) -> Refusal | None:  # noqa: PLR0911 (one per rule)
        if self.version not in {"1.1", "1.0"}:
            return _malformed("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
        if self.head_bytes > settings.max_header_bytes:
            return header_too_large(settings.max_header_bytes)
        if self._hosts != 1 and (self._hosts or self.version == "1.1"):
            return _malformed("A request carries exactly one Host header.")
        if self._hosts and _HOST.fullmatch(self._host) is None:
            return _malformed("The Host header is not a host name.")
        if self._transfer and (self._transfer != b"chunked" or self.version == "1.0"):
            return _malformed("The only transfer coding understood is 'chunked', in HTTP/1.1.")
        if self._content_types > 1:  # the engine may go by the other one, and find another model in the form
            return _malformed("A request carries at most one Content-Type header.")
        if self._connection:
            self._drop_named_headers()
        if self._expect and self._expect != b"100-continue":
            return Refusal(status=417, code="expectation_failed", message="Only 'Expect: 100-continue' is understood.")
        return None

    def _drop_named_headers(self) -> None:
        named = {token.strip().lower() for token in self._connection.split(b",")} - {b"close", b"keep-alive", b""}
        if named:
            self.headers = [line for line in self.headers if line.partition(b":")[0].lower() not in named]

    def _check_key(self, keys: KeyRing, now: float) -> Refusal | None:
        if self.path == b"/health" or (self.method == b"OPTIONS" and self.origin):
            return None
        self.grant = keys.find(self._secret, now) if self._secret else None
        return UNAUTHENTICATED if self.grant is None else None

    def _check_size(self, settings: GatewaySettings) -> Refusal | None:
        return _too_large(settings.max_body_bytes) if self._length > settings.max_body_bytes else None

    def _check_target(self) -> Refusal | None:
        if self.method == b"OPTIONS":
            self.endpoint = None
            return None
        if self.endpoint is None:
            if self.path not in {b"/health", b"/metrics", b"/v1/models"} and not self.path.startswith(b"/v1/models/"):
                return _NO_PATH
            return None if self.method in {b"GET", b"HEAD"} else _wrong_method("GET, HEAD")
        if self.method != b"POST":
            return _wrong_method("POST")
        if self._encoding and self._encoding != b"identity":
            return Refusal(
                status=415,
                code="unsupported_encoding",
                message="Compressed request bodies are not understood; send the body without Content-Encoding.",
            )
        return None


def _wrong_method(allow: str) -> Refusal:
    return Refusal(status=405, code="method_not_allowed", message=f"This path answers {allow}.", allow=allow)


def _too_large(limit: int) -> Refusal:
    return Refusal(status=413, code="body_too_large", message=f"The request body is over {limit} bytes.")


def framing_too_large(limit: int) -> Refusal:
    """Return the refusal of a request of which `limit` bytes in a row are neither headers nor body."""
    return _malformed(f"The chunk extensions or trailers of the request are over {limit} bytes.")


def header_too_large(limit: int) -> Refusal:
    """Return the refusal of a request whose headers exceed `limit` bytes."""
    return Refusal(
        status=431, code="headers_too_large", message=f"The request headers are over {limit} bytes.", close=True
    )
