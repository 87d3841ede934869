"""Reads the requests of one client connection off the wire, one after the other.

llhttp decides what is HTTP. A head that it and the checks have accepted before is found by its bytes instead
(`modelgrid.gateway.heads`); the parser then never sees that request, and stands where it stood: at the start of one.
"""

from typing import TYPE_CHECKING

import httptools

from modelgrid.gateway import local
from modelgrid.gateway.errors import TOO_MUCH_HELD, Refusal, raise_own
from modelgrid.gateway.heads import NOT_AGAIN, Head, Known, KnownHeads, head_of
from modelgrid.gateway.request import Request, framing_too_large, header_too_large

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core
    from modelgrid.gateway.protocol import ClientConnection


class RequestReader:
    """Takes bytes, gives each whole request, or the one refusal that ends the reading, to `ClientConnection.take`."""

    __slots__ = (
        "_client", "_core", "_head", "_heads", "_last", "_missing", "_parser", "_raw_frame", "_raw_head", "_resuming",
        "_upgrading", "continued", "ended", "reading_head", "request", "unread",
    )  # fmt: skip
    __deletable__ = ("_client", "_parser")  # for mypyc

    def __init__(self, core: "Core", client: "ClientConnection", heads: KnownHeads[Request]) -> None:
        """`heads`: those that were accepted where `client` came in."""
        self._core = core
        self._heads = heads
        self._client = client
        self._parser = httptools.HttpRequestParser(self)
        self._head: Head | None = None  # of the bytes being parsed, if it may be learned
        self._last: Known[Request] | None = None  # the head that was found last
        self._missing = 0  # bytes of the body of a request whose head was known
        self._raw_head = 0
        self._raw_frame = 0  # bytes since the last of the body: chunk extensions, trailers
        self._upgrading = self._resuming = False  # the parser stopped for another protocol; a new one gets the body
        self.request: Request | None = None
        """The request that is being read."""
        self.reading_head = False
        self.continued = False
        """It was told to send its body, or will be answered without."""
        self.ended = False
        """Nothing that still arrives is a request."""
        self.unread = False
        """The last request was not read to its end."""

    def feed(self, data: bytes) -> None:
        """Read `data`. Answers may be written before this returns. What it raises is an error of the gateway's own."""
        before = self.request
        fresh = len(data)
        if self._missing:
            data = self._add_body(before, data)  # type: ignore[arg-type]  # what is missing is missing of a request
        elif before is None:
            data = self._recall(data)
        else:
            self._raw_frame += fresh
        while data and not self.ended:
            data = self._parse(data)
        request = self.request
        if request is not None:
            self._check_partial(request, fresh if request is before else 0)

    def let_go(self) -> None:
        """The connection is no more: what it consists of goes at once, and waits for no collector."""
        del self._client, self._parser

    def cut_short(self, refusal: Refusal) -> None:
        """Answer the request that is being read with `refusal` without reading the rest; nothing after it is read."""
        request = self.request or Request()
        request.refusal = request.refusal or refusal
        self.request = None
        self._missing = 0
        self.unread = True
        request.keep_alive = False
        self._take(request)

    # Known heads

    def _recall(self, data: bytes) -> bytes:
        """Begin a request whose head is known; return the bytes that are left, all of them when it is not."""
        core, known = self._core, self._last
        body_at, length = known.again(data) if known is not None else NOT_AGAIN
        if not body_at:
            self._head = head = head_of(data)
            if head is None:
                return data
            body_at, length = head.body_at, head.length
            self._last = known = self._heads.find(head.key)
        checked = known.value if known is not None else None
        if checked is None or length > core.settings.max_body_bytes or checked.expired(core.deadlines.wall):
            return data
        self._head = None
        request = checked.again()
        body = data[body_at:]
        if len(body) == length:
            request.add_body(body, length)
            self._client.take(request)
            return b""
        self._missing = length
        self.request = request
        self.reading_head = False
        return self._add_body(request, body)

    def _add_body(self, request: Request, data: bytes) -> bytes:
        """Take the part of `data` that belongs to the body of `request`; return the rest."""
        missing = self._missing
        piece = data if len(data) <= missing else data[:missing]
        self._missing = missing - len(piece)
        if piece:
            request.add_body(piece, self._core.settings.max_body_bytes)
        if not self._missing:
            self.request = None
            self._take(request)
        return data[missing:]

    # httptools

    def on_message_begin(self) -> None:
        if self.ended or self._resuming:
            return
        self.request = Request()
        self.reading_head = True
        self._raw_head = 0
        self.continued = False
        self._client.more_is_due()

    def on_url(self, url: bytes) -> None:
        request = self.request
        if request is not None and not self._resuming:
            request.url = request.url + url if request.url else url
            request.head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.reading_head and self.request is not None:  # afterwards: trailers, which nobody reads
            self.request.add_header(name, value)

    def on_headers_complete(self) -> None:
        request = self.request
        if request is None or self._resuming:
            self._resuming = False
            return
        self.reading_head = False
        self._raw_frame = 0
        core, parser = self._core, self._parser
        request.method = parser.get_method()
        request.version = parser.get_http_version()
        tunnel = request.method == b"CONNECT"
        request.keep_alive = request.version == "1.1" and parser.should_keep_alive() and not tunnel
        self._upgrading = parser.should_upgrade() and not tunnel
        request.refusal = self._client.check(request)
        if core.table is None and request.path != b"/health" and (request.refusal is None or not request.refusal.close):
            request.refusal = local.NOT_READY
        head, self._head = self._head, None
        if head is not None and not self._upgrading and request.learnable(head.length):
            self._heads.learn(head, request.again())

    def on_body(self, data: bytes) -> None:
        self._raw_frame = 0
        if self.request is not None:
            self.request.add_body(data, self._core.settings.max_body_bytes)

    def on_message_complete(self) -> None:
        request = self.request
        if request is not None and not self._upgrading:
            self.request = None
            self._take(request)

    # Parsing

    def _parse(self, data: bytes) -> bytes:
        """Parse `data`; return what must be parsed once more."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._stay_with_http(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:  # an exception of ours, on its way through llhttp
            raise_own(error)
        except httptools.HttpParserError as error:
            if not self.ended:
                message = f"The request is not valid HTTP: {error}."
                self.cut_short(Refusal(status=400, code="malformed_request", message=message, close=True))
        self._head = None
        return b""

    def _stay_with_http(self, rest: bytes) -> bytes:
        """Ignore a wish to switch protocols, as a server may (RFC 9110, 7.8); return what to parse instead of `rest`.

        The parser stops after the head of such a request, and cannot be told to read its body. A new one can, given
        the framing alone. Java's HTTP client asks for h2c with every first request, bodies included.
        """
        request = self.request
        if not self._upgrading or request is None:
            self.ended = True  # CONNECT: what follows is a tunnel's
            return b""
        self._upgrading = False
        self._resuming = True
        self._parser = httptools.HttpRequestParser(self)
        return b"POST / HTTP/1.1\r\n%b\r\n%b" % (request.framing(), rest)

    def _check_partial(self, request: Request, fresh: int) -> None:
        """Look at a request that has not arrived whole; `fresh`: bytes of it that just did."""
        limit = self._core.settings.max_header_bytes
        if self.reading_head:
            self._raw_head += fresh
            if max(self._raw_head, request.head_bytes) > limit:
                request.refusal = header_too_large(limit)
        else:
            self._client.more_is_due()
            if self._raw_frame > limit and not self._missing:
                request.refusal = request.refusal or framing_too_large(limit)
        if request.refusal is not None:
            self.cut_short(request.refusal)
        elif not self.reading_head and not self._client.hold(max(request.size + self._missing, request.announced)):
            self.cut_short(TOO_MUCH_HELD)
        else:
            self._client.continue_if_expected()

    def _take(self, request: Request) -> None:
        if not request.keep_alive or (request.refusal is not None and request.refusal.close):
            self.ended = True
        self._client.take(request)
