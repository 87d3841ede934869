"""HTTP/1.1 on `asyncio.Protocol`: parse a request, hand it over, write the answer."""

import asyncio
import time
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import httptools

if TYPE_CHECKING:
    from modelgrid.simulator.engine import Engine, Generation

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_MAX_QUEUED = 32
"""Pipelined requests that are read ahead before the socket is left alone."""


class Request:
    """One request, complete with its body."""

    __slots__ = ("authorization", "body", "content_type", "keep_alive", "method", "path", "request_id")

    def __init__(self) -> None:
        self.method = ""
        self.path = ""
        self.body = b""
        self.authorization = ""
        self.content_type = ""
        self.request_id = ""
        self.keep_alive = True


class Application(Protocol):
    """What a connection needs of the server."""

    engine: "Engine"

    def opened(self, connection: "Connection") -> None: ...

    def closed(self, connection: "Connection") -> None: ...

    def handle(self, request: Request, connection: "Connection") -> None:
        """Answer `request`, now or later, by the methods of `connection`. Must not raise."""

    def answered(self, request: Request, status: int, connection: "Connection") -> None:
        """Take note that an answer to `request` was begun."""


class _Date:
    """The Date header, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = (
                time.strftime("date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime(second)).encode()
                + b"\r\nserver: modelgrid-simulator\r\n"
            )
        return self._line


_date = _Date()


class Connection(asyncio.Protocol):
    """One client. Requests of one connection are answered one after the other."""

    def __init__(self, application: Application, loop: asyncio.AbstractEventLoop) -> None:
        self._application = application
        self._loop = loop
        # connection
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._queue: deque[Request] = deque()
        self._reading_paused = False
        self.peer = ""
        self.idle_since: float | None = loop.time()
        """Since when no request is being read or answered; `None` while one is."""
        # request being read
        self._reading = Request()
        self._url = b""
        self._parts: list[bytes] = []
        # request being answered
        self._current: Request | None = None
        self.generation: Generation | None = None
        """What the engine does for the request being answered."""
        self._chunked = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) and len(peer) > 1 else "unix"
        self._application.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._application.closed(self)
        self._queue.clear()
        generation, self.generation, self._current = self.generation, None, None
        if generation is not None:
            self._application.engine.abort(generation)

    def data_received(self, data: bytes) -> None:
        self.idle_since = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(b"Upgrade is not supported.")
        except httptools.HttpParserError:
            self._refuse(b"Invalid HTTP request received.")

    def pause_writing(self) -> None:
        if self.generation is not None:
            self._application.engine.pause(self.generation)

    def resume_writing(self) -> None:
        if self.generation is not None:
            self._application.engine.resume(self.generation)

    # httptools

    def on_message_begin(self) -> None:
        self._reading = Request()
        self._url = b""
        self._parts = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        match name.lower():
            case b"content-type":
                self._reading.content_type = value.decode("latin-1")
            case b"authorization":
                self._reading.authorization = value.decode("latin-1")
            case b"x-request-id":
                self._reading.request_id = value.decode("latin-1")
            case b"expect" if value.lower() == b"100-continue":
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            case _:
                pass

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        request = self._reading
        request.method = self._parser.get_method().decode("latin-1")
        request.path = self._url.partition(b"?")[0].decode("latin-1")
        request.keep_alive = self._parser.should_keep_alive()
        request.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if self._current is None and not self._queue:
            self._serve(request)
            return
        self._queue.append(request)
        if len(self._queue) >= _MAX_QUEUED and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    # answers

    def respond(self, status: int, body: bytes, content_type: bytes = JSON) -> None:
        """Send a whole answer; an empty `content_type` is left out."""
        request = self._begin_answer(status)
        if request is None:
            return
        self._transport.write(
            b"%b%bcontent-length: %d\r\n%b%b\r\n%b"
            % (
                _STATUS_LINES[status],
                b"content-type: %b\r\n" % content_type if content_type else b"",
                len(body),
                _date.line(),
                b"" if request.keep_alive else b"connection: close\r\n",
                b"" if request.method == "HEAD" else body,
            )
        )
        self._done(request)

    def start_stream(self) -> None:
        """Send the head of an event stream."""
        request = self._begin_answer(200)
        if request is None:
            return
        # An HTTP/1.0 client knows no chunks: the end of the connection is the end of the body.
        self._chunked = self._parser.get_http_version() != "1.0"
        request.keep_alive = request.keep_alive and self._chunked
        self._transport.write(
            b"%bcontent-type: %b\r\n%b%b%b\r\n"
            % (
                _STATUS_LINES[200],
                EVENT_STREAM,
                b"transfer-encoding: chunked\r\n" if self._chunked else b"",
                _date.line(),
                b"" if request.keep_alive else b"connection: close\r\n",
            )
        )

    def send_events(self, events: list[bytes]) -> None:
        """Send events, each in a chunk of its own, all in one write."""
        if self._chunked:
            self._transport.write(b"".join([b"%x\r\n%b\r\n" % (len(event), event) for event in events]))
        else:
            self._transport.write(b"".join(events))

    def end_stream(self) -> None:
        request = self._current
        if request is None:
            return
        if self._chunked:
            self._transport.write(b"0\r\n\r\n")
        self._done(request)

    def drop(self) -> None:
        """Close at once, in the middle of an answer; what was written is still sent."""
        self.generation = None
        self._transport.close()

    def close_when_idle(self) -> None:
        """Close now when nothing is being answered, else after the answer."""
        if self._current is None:
            self._transport.close()
        else:
            self._current.keep_alive = False
            self._queue.clear()

    def abort(self) -> None:
        self._transport.abort()

    def _serve(self, request: Request) -> None:
        self._current = request
        self._application.handle(request, self)

    def _begin_answer(self, status: int) -> Request | None:
        request = self._current
        if request is not None:
            self._application.answered(request, status, self)
        return request

    def _done(self, request: Request) -> None:
        self.generation = None
        self._current = None
        if not request.keep_alive:
            self._transport.close()
        elif self._queue:
            # In a turn of its own: a long pipeline must not become a deep recursion.
            self._loop.call_soon(self._next)
        else:
            self.idle_since = self._loop.time()

    def _next(self) -> None:
        if self._current is None and self._queue:
            request = self._queue.popleft()
            if self._reading_paused:
                self._reading_paused = False
                self._transport.resume_reading()
            self._serve(request)

    def _refuse(self, text: bytes) -> None:
        self._transport.write(
            b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n%b"
            % (_STATUS_LINES[400], len(text), _date.line(), text)
        )
        self._transport.close()
