"""One client connection: takes the requests that were read, has them answered one after the other, writes the answers.

Pipelined requests wait here in order and reading stops meanwhile. A connection whose framing cannot be trusted, or
whose request body is not going to be read, is answered, half-closed, drained for a moment (so that the answer is not
lost to a reset) and closed.
"""

import asyncio
import logging
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

from modelgrid.gateway import local
from modelgrid.gateway.admit import admit
from modelgrid.gateway.cors import headers_for
from modelgrid.gateway.errors import OWN_ERROR, Refusal, body_of, header_lines
from modelgrid.gateway.exchange import Exchange
from modelgrid.gateway.reader import RequestReader
from modelgrid.gateway.relay import status_line
from modelgrid.gateway.request import Request
from modelgrid.gateway.timers import NEVER

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core

log = logging.getLogger(__name__)

LINGER_SECONDS: Final = 2.0
"""How long a refused client has to read the answer before the connection is reset, if it goes on sending."""
LINGER_BYTES: Final = 1024 * 1024  # read and dropped meanwhile; then the client is made to wait
LAST_REQUEST_SECONDS: Final = 1.0
"""An idle connection of a draining gateway: closed at once, it would lose the request that is being sent just then."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientConnection:
    """See the module. Also the side of the client that `Exchange` talks to.

    An `asyncio.Protocol` by its methods: compiled classes have compiled bases only (`modelgrid.gateway.compiled`).
    """

    __slots__ = (
        "_answered", "_core", "_exchange", "_held", "_linger_left", "_lingering", "_pipeline", "_pumping",
        "_read_paused", "_reader", "_transport", "_write_paused", "deadline", "will_close",
    )  # fmt: skip

    def __init__(self, core: "Core") -> None:
        self._core = core
        self._reader = RequestReader(core, self, core.request_heads)
        # what is answered
        self._pipeline: deque[Request] = deque()
        self._exchange: Exchange | None = None
        self._pumping = False
        self._answered = False  # the request that was served last
        self._held = 0
        # the connection
        self._read_paused = self._write_paused = False
        self._lingering = False
        self._linger_left = LINGER_BYTES
        self.deadline = NEVER
        self.will_close = False
        """Ends with the present answer."""

    # From the reader

    def check(self, request: Request) -> Refusal | None:
        """Decide on the head of `request`."""
        core = self._core
        return request.check_head(core.keys, core.settings, core.deadlines.wall)

    def take(self, request: Request) -> None:
        """Answer `request` in its turn."""
        self._pipeline.append(request)
        if self._exchange is None:
            self._pump()

    def more_is_due(self) -> None:
        """A request has begun to arrive and is not whole."""
        if self._exchange is None:
            self.deadline = self._core.deadlines.now + self._core.settings.header_timeout_seconds

    def continue_if_expected(self) -> None:
        """Ask for the body of a request whose client waits to be asked, when its turn has come."""
        reader = self._reader
        request = reader.request
        if request is None or reader.reading_head or reader.continued or not request.expects_continue:
            return
        if self._exchange is None and not self._pipeline:
            reader.continued = True
            if request.size == 0:
                self.write(_CONTINUE)

    # From the exchange

    def write(self, data: bytes) -> None:
        """Send bytes of the present answer, if any."""
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def head_of(self, request: Request, request_id: bytes, lines: bytes) -> bytes:
        """Return the head of the present answer but for its framing; `lines`: a replica's, status line included."""
        extra = request.extra_headers
        if request.origin:
            extra += headers_for(request.origin, self._core.settings)
        if self.will_close or self._core.draining or not request.keep_alive:
            self.will_close = True
            extra += b"Connection: close\r\n"
        return b"%bX-Request-Id: %b\r\n%b" % (lines, request_id, extra)

    def wait_for(self, seconds: float) -> None:
        """The exchange waits for a replica; it hears `wait_expired` after `seconds`."""
        self.deadline = self._core.deadlines.now + seconds

    def hold(self, size: int) -> bool:
        """Count a body of `size` bytes as held, until it is let go; return whether all bodies together may be.

        What arrives in one piece and goes to a replica at once is not counted: the kernel's buffer bounds it.
        """
        more = size - self._held
        if more > 0:
            self._held = size
            self._core.held_bytes += more
        return self._core.held_bytes <= self._core.settings.max_held_bytes

    def let_body_go(self) -> None:
        """The body of the present request is no longer kept."""
        self._core.held_bytes -= self._held
        self._held = 0

    def wait_over(self) -> None:
        """The exchange no longer waits."""
        self.deadline = NEVER

    def refuse(self, request: Request, refusal: Refusal, request_id: bytes) -> None:
        """Answer with an error of the gateway's own."""
        self._core.counters.refused[refusal.code] += 1
        self.will_close = self.will_close or refusal.close
        body = body_of(refusal, request.form, request_id.decode())
        self._respond(request, refusal.status, local.JSON, body, request_id, header_lines(refusal))

    def exchange_over(self) -> None:
        """The present answer is complete."""
        self._exchange = None
        self._answered = True
        if self._pumping or self._pipeline or self._read_paused or self.will_close:
            self._after_answer()
            self._pump()
        else:
            self._rest()

    def abort(self) -> None:
        """Close at once: an error of the gateway's own leaves nothing that could be said."""
        self._transport.abort()

    # From the server

    def drain(self) -> None:
        """End with the present answer; without one, after a moment in which a request on its way still arrives."""
        if self._exchange is None and self._reader.request is None and not self._pipeline and not self._lingering:
            self.deadline = self._core.deadlines.now + LAST_REQUEST_SECONDS

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is one by its methods only
        self._core.connection_opened(self)
        self.deadline = self._core.deadlines.now + self._core.settings.header_timeout_seconds

    def data_received(self, data: bytes) -> None:
        if self._reader.ended:
            self._linger_left -= len(data)
            if self._lingering and self._linger_left < 0:
                # Not reset yet: a reset makes many a client forget the answer that it has not read.
                self._transport.pause_reading()
            return
        try:
            self._reader.feed(data)
        except Exception:
            log.exception("the gateway itself failed at reading a request")
            self._reader.cut_short(OWN_ERROR)
        if self._pipeline and not self._read_paused and not self._transport.is_closing():
            self._read_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._client_gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._core.connection_closed(self)
        self.let_body_go()
        self._client_gone()
        self._reader.let_go()

    def pause_writing(self) -> None:
        self._write_paused = True
        self.deadline = self._core.deadlines.now + self._core.settings.idle_timeout_seconds
        if self._exchange is not None:
            self._exchange.pause()

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._exchange is not None:
            self.deadline = NEVER
            self._exchange.resume()
        elif not self._lingering:
            self._rest()
            self._pump()

    def on_deadline(self) -> None:
        """Whatever was awaited from the client, or in the queue, took too long."""
        exchange, reader = self._exchange, self._reader
        if self._lingering or self._write_paused:
            self._client_gone()
            self._transport.abort()
        elif exchange is not None:
            if exchange.waiting:
                try:
                    exchange.wait_expired()
                except Exception:
                    log.exception("the gateway itself failed at turning a request away")
                    exchange.crashed()
        elif reader.request is not None:
            message = f"The request {'headers' if reader.reading_head else 'body'} did not arrive in time."
            reader.cut_short(Refusal(status=408, code="request_timeout", message=message, close=True))
        else:
            self._transport.close()

    # Giving answers

    def _pump(self) -> None:
        """Answer what waits, in order, until one takes its time. Not recursive: exchanges may end while they start."""
        if self._pumping:
            return
        self._pumping = True
        pipeline = self._pipeline
        try:
            while pipeline and self._exchange is None and not self._write_paused and not self._transport.is_closing():
                if self._lingering:
                    break
                self.deadline = NEVER
                self._answered = False
                request = pipeline.popleft()
                try:
                    self._serve(request)
                except Exception:
                    log.exception("the gateway itself failed at a request")
                    self._crashed(request)
        finally:
            self._pumping = False
        if self._read_paused and not pipeline and not self._transport.is_closing():
            self._read_paused = False
            self._transport.resume_reading()

    def _serve(self, request: Request) -> None:
        refusal = request.refusal
        if refusal is None and request.endpoint is not None:
            self._proxy(request)
            return
        if refusal is None and request.method == b"OPTIONS":
            extra = b"Allow: GET, HEAD, POST, OPTIONS\r\n"
            extra += headers_for(request.origin, self._core.settings, preflight=True)
            self._count(request, 204)
            self._respond(request, 204, b"", b"", self._id_for(request), extra)
        elif refusal is None:
            answer = local.answer(self._core, request)
            if isinstance(answer, Refusal):
                refusal = answer
            else:
                status, content_type, body = answer
                self._count(request, status)
                self._respond(request, status, content_type, body, self._id_for(request))
        if refusal is not None:
            self._refuse(request, refusal)
        self._after_answer()

    def _crashed(self, request: Request) -> None:
        """An error of the gateway's own came in the way of `request`: say so, if nothing was said yet, and close."""
        exchange = self._exchange
        if exchange is not None:
            exchange.crashed()
        elif self._answered:
            self.abort()
        else:
            if request.ticket is not None:
                request.ticket.close(0)
            self._refuse(request, OWN_ERROR)
            self._after_answer()

    def _proxy(self, request: Request) -> None:
        body = request.take_body()
        model = admit(self._core, request, body)
        if isinstance(model, Refusal):
            self._refuse(request, model)
            self._after_answer()
        else:
            self._exchange = Exchange(self._core, self, request, model, body)
            self._exchange.start()

    def _id_for(self, request: Request) -> bytes:
        return request.client_id or self._core.next_request_id()

    def _refuse(self, request: Request, refusal: Refusal) -> None:
        """Refuse a request that no exchange counts."""
        self._count(request, refusal.status)
        self.refuse(request, refusal, self._id_for(request))

    def _count(self, request: Request, status: int) -> None:
        if request.path not in local.PROBES:
            label = request.grant.label if request.grant is not None else ""
            self._core.counters.answered_here(label, status, perf_counter() - request.started)

    def _respond(
        self, request: Request, status: int, content_type: bytes, body: bytes, request_id: bytes, extra: bytes = b""
    ) -> None:
        self.will_close = closing = self.will_close or not request.keep_alive or self._core.draining
        extra += request.extra_headers
        if request.origin and request.method != b"OPTIONS":
            extra += headers_for(request.origin, self._core.settings)
        if content_type:
            extra += b"Content-Type: %b\r\nContent-Length: %d\r\n" % (content_type, len(body))
        if closing:
            extra += b"Connection: close\r\n"
        head = b"%b%bX-Request-Id: %b\r\nCache-Control: no-store\r\n%b\r\n" % (
            status_line(status), self._core.date_line(), request_id, extra,
        )  # fmt: skip
        self._answered = True
        self.write(head if request.method == b"HEAD" else head + body)

    def _after_answer(self) -> None:
        if self.will_close:
            self._pipeline.clear()
            self._reader.ended = True
            self._close()
        elif not self._pipeline:
            self._rest()

    def _rest(self) -> None:
        """Nothing is being answered: set the deadline of what comes next."""
        if self._held:
            self.let_body_go()
        settings = self._core.settings
        wait = settings.keep_alive_seconds if self._reader.request is None else settings.header_timeout_seconds
        if self._core.draining:  # the head of a long answer went before that, and did not announce the end
            wait = LAST_REQUEST_SECONDS
        self.deadline = self._core.deadlines.now + wait
        self.continue_if_expected()

    def _close(self) -> None:
        self.let_body_go()
        if not self._reader.unread or self._transport.is_closing():
            self._transport.close()
            return
        self._lingering = True
        self.deadline = self._core.deadlines.now + LINGER_SECONDS
        if self._transport.can_write_eof():  # not over TLS: there the close itself is what the client sees
            self._transport.write_eof()

    def _client_gone(self) -> None:
        self._reader.ended = True
        self._pipeline.clear()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone()
