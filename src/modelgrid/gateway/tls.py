"""TLS over a TCP connection of the event loop, for a client.

The loop's own TLS hides the socket underneath from the moment it closes. Whether a request is sent again is decided by
what the kernel knows of that socket (`UpstreamConnection._undelivered`), so the protocol above this one keeps it: it
hears of the end of the TCP stream while the socket is open, and knows how many bytes were handed to it.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

_READ_BYTES = 256 * 1024
_WRITE_BYTES = 128 * 1024
"""Encrypted at once. More waits as it came until TCP has room: a large body is not in memory twice, and other
requests go on in between."""
_TCP_BYTES = 512 * 1024
"""How much TCP may hold before it has no room."""


def tls_of_server(certificate: Path, key: Path, at_least: ssl.TLSVersion) -> ssl.SSLContext:
    """Return how a port answers. Raises OSError (`ssl.SSLError` is one) when the certificate cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = at_least
    # Without a password OpenSSL would ask for one at the terminal.
    context.load_cert_chain(certificate, key, password=lambda: "")
    return context


class TlsClient(asyncio.Protocol):
    """The protocol of the TCP connection, and what the protocol above has as its transport."""

    def __init__(self, loop: asyncio.AbstractEventLoop, context: ssl.SSLContext, above: asyncio.Protocol) -> None:
        """`above` hears of the connection once its other side has shown the right certificate."""
        self.ready: asyncio.Future[None] = loop.create_future()
        """Done when that is so. Raises OSError (`ssl.SSLError` is one) when it will not be."""
        self.sent = 0
        """Bytes handed to TCP."""
        self._above = above
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)
        self._waiting: deque[memoryview] = deque()
        self._made = self._ended = self._full = False
        self._error: Exception | None = None

    # The transport of the protocol above

    def write(self, data: bytes) -> None:
        """Send `data`."""
        self._waiting.append(memoryview(data))
        self._encrypt()

    def writelines(self, parts: Iterable[bytes]) -> None:
        """Send all `parts`."""
        self._waiting.extend(map(memoryview, parts))
        self._encrypt()

    def abort(self) -> None:
        """Close at once."""
        self._tcp.abort()

    def is_closing(self) -> bool:
        """Whether it takes nothing any more."""
        return self._ended or self._tcp.is_closing()

    def pause_reading(self) -> None:
        """Stop reading."""
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._tcp.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Return the bytes that wait to be sent."""
        return self._tcp.get_write_buffer_size() + sum(map(len, self._waiting))

    @property
    def all_sent(self) -> bool:
        """Whether everything was handed to TCP."""
        return not self._waiting

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the TCP connection knows."""
        return self._tcp.get_extra_info(name, default)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tcp = cast("asyncio.Transport", transport)
        self._tcp.set_write_buffer_limits(high=_TCP_BYTES)
        self._shake_hands()

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if not self._made:
            self._shake_hands()
        if self._made:
            self._decrypt()

    def eof_received(self) -> bool:
        if self._made and not self._ended:
            self._ended = True
            self._above.eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        if self._made:
            self._above.connection_lost(self._error or exc)
        elif not self.ready.done():
            self.ready.set_exception(exc or ConnectionResetError("closed while keys were being exchanged"))

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._encrypt()

    # Inside

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._flush()  # the alert tells the other side why
            if not self.ready.done():
                self.ready.set_exception(error)
            self._tcp.close()
        else:
            self._flush()
            self._made = True
            self._above.connection_made(cast("asyncio.BaseTransport", self))
            if not self.ready.done():
                self.ready.set_result(None)

    def _decrypt(self) -> None:
        parts: list[bytes] = []
        over = False
        try:
            while part := self._tls.read(_READ_BYTES):
                parts.append(part)
            over = True  # the other side has said that nothing follows
        except ssl.SSLWantReadError:
            self._flush()  # it may have asked for other keys
        except ssl.SSLError as error:
            self._error = error
        if parts:
            self._above.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        if over and not self._ended:
            self._ended = True
            self._above.eof_received()
        if over or self._error is not None:
            self._tcp.abort()

    def _encrypt(self) -> None:
        waiting = self._waiting
        while waiting and not self._full and not self.is_closing():
            rest = waiting[0]
            if rest:
                rest = rest[self._tls.write(rest[:_WRITE_BYTES]) :]
                self._flush()
            if rest:
                waiting[0] = rest
            else:
                waiting.popleft()

    def _flush(self) -> None:
        if self._outgoing.pending:
            data = self._outgoing.read()
            self.sent += len(data)
            self._tcp.write(data)
