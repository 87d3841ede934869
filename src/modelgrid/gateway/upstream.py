"""Connections to replicas: one pool per replica, one request at a time on a connection."""

import asyncio
import logging
import socket
import struct
from typing import TYPE_CHECKING, Final, cast

import httptools

from modelgrid.gateway.egress import connect
from modelgrid.gateway.errors import raise_own
from modelgrid.gateway.heads import NOT_AGAIN, AnswerHead, Head, Known, head_of
from modelgrid.gateway.relay import status_line, whole_chunk
from modelgrid.gateway.timers import NEVER

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core
    from modelgrid.gateway.exchange import Exchange
    from modelgrid.gateway.replica import ReplicaEntry

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 30.0
"""How long an unused connection is kept. Engines are started with a longer keep-alive (`VLLM_HTTP_TIMEOUT_KEEP_ALIVE`);
one that closes earlier costs a resend at most."""
HEAD_LIMIT: Final = 256 * 1024
"""Bytes of an answer's head; more is no HTTP server of ours."""
JOIN_BYTES: Final = 16 * 1024
"""Bodies up to this go out joined with their head: copying them costs less than a second buffer."""

_FAILED: Final = "the gateway itself failed at a replica's answer"

_TCP_INFO: Final = struct.Struct("=120xQ72xQQ")
"""`tcpi_bytes_acked` (with the SYN), `tcpi_bytes_sent`, `tcpi_bytes_retrans` of `struct tcp_info`, Linux since 4.19."""

_DROPPED: Final = frozenset((
    b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"trailer", b"content-length",
    b"x-request-id", b"server",
))  # fmt: skip
"""Of the answer's headers: hop-by-hop, or set anew towards the client. So is all that begins with one of these:"""
_DROPPED_PREFIXES: Final = (b"access-control-", b"x-modelgrid-")


class UpstreamConnection:
    """One connection to a replica. Tells its exchange what comes back, in order, and how it ended.

    An `asyncio.Protocol` by its methods: compiled classes have compiled bases only (`modelgrid.gateway.compiled`).
    """

    __slots__ = (
        "_between_chunks", "_chunk_over", "_chunked", "_complete", "_core", "_head", "_head_bytes", "_head_done",
        "_keep_alive", "_last", "_length", "_lines", "_parser", "_pool", "_sent", "_socket", "_sse", "_transport",
        "_until_close", "deadline", "exchange", "reused",
    )  # fmt: skip
    __deletable__ = ("_parser",)  # for mypyc

    def __init__(self, core: "Core", pool: "Pool") -> None:
        self._core = core
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._sent = 0
        self.exchange: Exchange | None = None
        self.reused = False
        self.deadline = NEVER
        self._last: Known[AnswerHead] | None = None  # the head that was found last
        self._reset()

    def _reset(self) -> None:
        self._lines: list[bytes] = []
        self._length: int | None = None
        self._chunked = False
        self._sse = False
        self._until_close = False
        self._keep_alive = False
        self._head: Head | None = None  # of the bytes being parsed, if it may be learned
        self._head_done = False
        self._head_bytes = 0
        self._complete = False
        self._chunk_over = self._between_chunks = False  # where the parser stands

    @property
    def usable(self) -> bool:
        """May carry another request."""
        return not self._transport.is_closing()

    def send(self, exchange: "Exchange", head: bytes, body: bytes) -> None:
        """Send one request; its answer goes to `exchange`."""
        self.exchange = exchange
        if self._head_done:
            self._reset()
        self._sent += len(head) + len(body)
        self.deadline = self._core.deadlines.now + self._core.settings.first_byte_timeout_seconds
        if len(body) <= JOIN_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def abort(self) -> None:
        """Close at once: the engine stops working on the request. The exchange hears nothing more."""
        self.exchange = None
        self._transport.abort()

    def pause(self) -> None:
        """Stop reading: the client does not keep up."""
        if not self._transport.is_closing():
            self._transport.pause_reading()
            self.deadline = NEVER

    def resume(self) -> None:
        """Read again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self.deadline = self._core.deadlines.now + self._core.settings.idle_timeout_seconds

    def keep(self) -> None:
        """Stay open for the next request."""
        self.exchange = None
        self.reused = True
        self.deadline = self._core.deadlines.now + IDLE_SECONDS

    def on_deadline(self) -> None:
        """Idle for too long, or the replica keeps a request waiting for too long."""
        exchange = self.exchange
        self.abort()
        if exchange is not None:
            said = "fell silent in its answer" if self._head_done else "did not answer in time"
            try:
                exchange.broken("timeout", said, status=504)
            except Exception:
                log.exception(_FAILED)
                exchange.crashed()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is one by its methods only
        self._socket = transport.get_extra_info("socket")
        self._core.deadlines.watch(self)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:  # an engine has nothing to say between requests
            self._transport.abort()
            return
        try:
            self._receive(exchange, data)
        except Exception:
            log.exception(_FAILED)
            if self.exchange is exchange:  # it has not gone back to the pool
                self.abort()
            exchange.crashed()

    def _receive(self, exchange: "Exchange", data: bytes) -> None:
        if not self._head_done:
            if self._head_bytes == 0 and self._recall(exchange, data):
                return
            self._head_bytes += len(data)
        elif self._between_chunks and (begin := whole_chunk(data)):
            if exchange.answer_chunk(data, begin):
                self.deadline = self._core.deadlines.now + self._core.settings.idle_timeout_seconds
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._malformed(exchange, "it switched protocols")
            return
        except httptools.HttpParserCallbackError as error:  # an exception of ours, on its way through llhttp
            raise_own(error)
        except httptools.HttpParserError as error:
            if not self._complete:  # what follows a whole answer is not this request's business: see `reusable` below
                self._malformed(exchange, str(error))
                return
            self._keep_alive = False
        if self._complete:
            reusable = self._keep_alive and not self._until_close and self._transport.get_write_buffer_size() == 0
            exchange.answer_ended(self, reusable=reusable)
        elif self._head_done:
            self._between_chunks = self._chunk_over and data.endswith(b"\n")  # no piece of the next one's size
            if exchange.answer_continues():
                self.deadline = self._core.deadlines.now + self._core.settings.idle_timeout_seconds
        elif self._head_bytes > HEAD_LIMIT:
            self._malformed(exchange, "the head of its answer does not end")

    def _recall(self, exchange: "Exchange", data: bytes) -> bool:
        """Hand over a whole answer whose head is known (see `modelgrid.gateway.heads`); return whether it was one."""
        known = self._last
        body_at, length = known.again(data) if known is not None else NOT_AGAIN
        if not body_at:
            self._head = head = head_of(data)
            if head is None:
                return False
            body_at, length = head.body_at, head.length
            self._last = known = self._core.answer_heads.find(head.key)
        answer = known.value if known is not None else None
        if answer is None or len(data) - body_at != length:
            return False
        reusable = answer.keep_alive and self._transport.get_write_buffer_size() == 0
        exchange.answer_whole(self, answer, data[body_at:], reusable)
        return True

    def eof_received(self) -> bool:
        self._lost("closed the connection", orderly=True)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._core.deadlines.forget(self)
        self._pool.forget(self)
        reason = f"broke the connection ({exc})" if exc else "closed the connection"
        self._lost(reason, orderly=isinstance(exc, BrokenPipeError))  # EPIPE: closed first, reset by what came after
        del self._parser  # which has this connection's methods: it would wait for the collector

    def pause_writing(self) -> None:
        """Nothing to do: the whole body is in memory already, bounded by `max_body_bytes`."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""

    def _lost(self, reason: str, *, orderly: bool) -> None:
        exchange, self.exchange = self.exchange, None
        self.deadline = NEVER
        if exchange is None:
            return
        try:
            if self._head_done and self._until_close:
                exchange.answer_ended(self, reusable=False)
            elif self._head_done:
                exchange.broken("mid_stream", f"{reason} in the middle of its answer")
            else:
                exchange.connection_failed(self, reason, accepted=not self._undelivered(orderly))
        except Exception:
            log.exception(_FAILED)
            exchange.crashed()

    def _undelivered(self, orderly: bool) -> bool:
        """Whether it is certain that the peer did not get the whole request; `orderly`: it closed with a FIN.

        This tells a close that crossed the request (which may then be sent again) from an engine that took the request
        and died over it (which may not); time and error codes do not. It is certain when the kernel has not even
        transmitted all of it, or when a FIN came that does not acknowledge all of it: whoever closed had not read it.
        A reset alone proves nothing: it may overtake the acknowledgement."""
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        except OSError:
            return False
        if len(info) < _TCP_INFO.size:  # an older kernel
            return False
        acknowledged, transmitted, repeated = _TCP_INFO.unpack(info)
        return bool(transmitted - repeated < self._sent or (orderly and acknowledged - 1 < self._sent))

    def _malformed(self, exchange: "Exchange", reason: str) -> None:
        self.abort()
        exchange.broken("malformed", f"sent something that is not HTTP: {reason}")

    # httptools

    def on_message_begin(self) -> None:
        if self._complete:  # it talks on after its answer: nothing on this connection can be told apart any more
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:  # a trailer
            return
        key = name.lower()
        if key not in _DROPPED:
            if key == b"content-type":
                self._sse = value[:17].lower() == b"text/event-stream"
            elif key.startswith(_DROPPED_PREFIXES):
                return
            self._lines.append(b"%b: %b\r\n" % (name, value))
        elif key == b"content-length":
            self._length = int(value)  # llhttp let digits pass only
        elif key == b"transfer-encoding":
            self._chunked = True

    def on_headers_complete(self) -> None:
        status, head, self._head = self._parser.get_status_code(), self._head, None
        if status < 200 or self._head_done:  # an interim answer, or bytes after the answer: neither is relayed
            return
        self._head_done = True
        self._keep_alive = self._parser.should_keep_alive()
        bodiless = status in {204, 304}
        self._until_close = not self._chunked and self._length is None and not bodiless
        lines = b"".join(self._lines)
        if head is not None and status == 200 and self._length == head.length and not (self._chunked or self._sse):
            self._core.answer_heads.learn(head, AnswerHead(status_line(status) + lines, keep_alive=self._keep_alive))
        exchange = self.exchange
        if exchange is not None:
            exchange.answer_began(status, lines, 0 if bodiless else self._length, sse=self._sse)

    def on_body(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is not None and not self._complete:
            exchange.answer_payload(data)

    def on_chunk_header(self) -> None:
        self._chunk_over = False

    def on_chunk_complete(self) -> None:
        self._chunk_over = True

    def on_message_complete(self) -> None:
        if self._head_done:
            self._complete = True
        else:  # an interim answer
            self._lines.clear()
            self._length = None
            self._chunked = False


class Pool:
    """The connections of one replica that wait for a request. Newest first: the others may end by age."""

    __slots__ = ("_closed", "_core", "_host", "_idle", "_port", "_replica", "_tasks")

    def __init__(self, core: "Core", replica: "ReplicaEntry", host: str, port: int) -> None:
        self._core = core
        self._replica = replica
        self._host = host
        self._port = port
        self._idle: list[UpstreamConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> UpstreamConnection | None:
        """Return a connection that waits, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def serve(self, exchange: "Exchange") -> None:
        """Give `exchange` a connection that waits, or a new one."""
        connection = self.take()
        if connection is not None:
            exchange.connected(connection)
        else:
            self.open(exchange)

    def open(self, exchange: "Exchange") -> None:
        """Connect for `exchange`, which hears `connected` or `connect_failed`."""
        task = self._core.loop.create_task(self._open(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keep `connection` for the next request."""
        if self._closed or not connection.usable:
            connection.abort()
            return
        connection.keep()
        self._idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """`connection` is closed."""
        if connection.exchange is None and connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close what waits and keep nothing from now on; requests under way are not disturbed."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()

    async def _open(self, exchange: "Exchange") -> None:
        try:
            await self._open_for(exchange)
        except Exception:
            log.exception("the gateway itself failed at connecting to replica %s", self._replica.id)
            exchange.crashed()

    async def _open_for(self, exchange: "Exchange") -> None:
        try:
            async with asyncio.timeout(self._core.settings.connect_timeout_seconds):
                connection = await self._connect()
        except TimeoutError:
            exchange.connect_failed(self._replica, "did not accept a connection in time")
        except OSError as error:
            exchange.connect_failed(self._replica, self._why(error))
        else:
            if exchange.done or exchange.replica is not self._replica:  # nobody waits for it any more
                self.give_back(connection)
            elif not connection.usable:
                exchange.connect_failed(self._replica, "closed the connection at once")
            else:
                exchange.connected(connection)

    async def _connect(self) -> UpstreamConnection:
        """Return a new connection. Raises OSError."""
        loop, host, port = self._core.loop, self._host, self._port
        return await connect(loop, host, port, lambda: UpstreamConnection(self._core, self))

    def _why(self, error: OSError) -> str:
        """Return in words why there is no connection."""
        return f"could not be connected to ({error.strerror or error})"
