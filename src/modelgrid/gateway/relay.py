"""Turns one replica's answer into the bytes for one client.

The payload passes unchanged; framing (chunks, length) is the gateway's own, so that it can be ended properly at any
moment. Three rules make a broken replica visible and never a half-truth:

- nothing is sent before the first payload byte, so until then a failure is a proper error status;
- a short answer of known length is sent when it is whole, so that its failure is a proper error status too;
- of an event stream only whole events are sent, so that a final error event can follow at any time.
"""

import re
from http import HTTPStatus
from typing import Final

from modelgrid.gateway.errors import ApiForm
from modelgrid.gateway.usage import USAGE_TAIL_BYTES, is_usage_event

HOLD_BYTES: Final = 64 * 1024
"""Answers of known length up to this are sent whole. As large as the write buffer that is allowed anyway."""
EVENT_LIMIT: Final = 1024 * 1024
"""An event that has not ended after this many bytes is passed on in pieces; vLLM's are far below."""
LAST_CHUNK: Final = b"0\r\n\r\n"

STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


def status_line(status: int) -> bytes:
    """Return the first line of an answer."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


_LONGEST_SIZE: Final = 8  # digits


def whole_chunk(data: bytes) -> int:
    """Return where the payload begins when `data` is one chunk, written as it is written here; 0 when it is not."""
    begin = data.find(b"\r\n", 1, _LONGEST_SIZE + 2) + 2
    size = len(data) - begin - 2
    return begin if begin > 2 and size > 0 and data.endswith(b"\r\n") and data.startswith(b"%x\r\n" % size) else 0


_EVENT: Final = re.compile(rb".*?(?:\n\n|\r\n\r\n)", re.DOTALL)


class Answer:
    """An answer that is not an event stream."""

    __slots__ = ("_chunked", "_hold", "_out", "_parts", "_size", "_started", "_tail", "first")

    def __init__(self, head: bytes, *, length: int | None, chunked: bool, hold: bool = False) -> None:
        """`head`: status line and headers, without the framing and the blank line.

        `length`: the replica's Content-Length; without one the payload is sent in chunks, or up to the close of the
        connection when `chunked` is false (HTTP/1.0). `hold`: keep it up to HOLD_BYTES even without a length.
        """
        self._chunked = chunked and length is None
        self._hold = hold if length is None else length <= HOLD_BYTES
        self._size = 0
        if length is not None:
            head += b"Content-Length: %d\r\n\r\n" % length
        elif self._chunked:
            head += b"Transfer-Encoding: chunked\r\n\r\n"
        else:
            head += b"\r\n"
        self._out = head
        self._parts: list[bytes] = []
        self._started = False
        self._tail = b""
        self.first = b""
        """The first events of a stream, kept where the API's last event repeats them."""

    @property
    def started(self) -> bool:
        """Something of it was handed out: the status can no longer change."""
        return self._started

    @property
    def tail(self) -> bytes:
        """The end of the payload, for `usage_of`."""
        return self._tail

    def add(self, payload: bytes) -> None:
        """Take a piece of payload as it arrives."""
        self._parts.append(payload)
        self._size += len(payload)

    def take(self) -> bytes:
        """Return what may be sent to the client now; may be empty."""
        return b"" if self._hold and self._size <= HOLD_BYTES else self._flush()

    def end(self) -> bytes:
        """Return what is left to send once the replica's answer is whole."""
        out = self._flush()
        if not self._started:
            self._started = True
            out = self._out
        return out + LAST_CHUNK if self._chunked else out

    def fail(self, event: bytes) -> bytes:
        """Return the bytes that tell the client of a failure; empty when only cutting the connection does."""
        return b""

    def _flush(self) -> bytes:
        parts = self._parts
        if not parts:
            return b""
        payload = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        return self._frame(self._passable(payload))

    def _passable(self, payload: bytes) -> bytes:
        if len(payload) >= USAGE_TAIL_BYTES or not self._tail:
            self._tail = payload[-USAGE_TAIL_BYTES:]
        else:
            self._tail = (self._tail + payload)[-USAGE_TAIL_BYTES:]
        return payload

    def _frame(self, payload: bytes) -> bytes:
        if not payload:
            return b""
        if self._chunked:
            payload = b"%x\r\n%b\r\n" % (len(payload), payload)
        if self._started:
            return payload
        self._started = True
        out, self._out = self._out + payload, b""
        return out


class EventAnswer(Answer):
    """A stream of server-sent events."""

    __slots__ = ("_form", "_held", "_hidden", "_hides_usage", "_last", "_previous")

    def __init__(self, head: bytes, *, form: ApiForm, chunked: bool, hides_usage: bool = False) -> None:
        """`hides_usage`: the client did not ask for the event that tells it, and does not get it."""
        super().__init__(head, length=None, chunked=chunked)
        self._hides_usage = hides_usage
        self._hidden = b""
        self._form = form
        self._held = b""
        self._previous = b""
        self._last = b""

    @property
    def tail(self) -> bytes:
        """The last events: usage is in the last or the one before, and what is passed at once holds whole events."""
        return self._hidden or self._previous + self._last

    def passes(self, chunk: bytes) -> bool:
        """Whether `chunk`, a `whole_chunk`, goes to the client as it is, now; it counts as handed out then."""
        if (
            not self._started
            or not self._chunked
            or self._held
            or not chunk.endswith(b"\n\n\r\n")
            or (self._hides_usage and b'"usage"' in chunk)
        ):
            return False
        self._previous, self._last = self._last, chunk
        return True

    def end(self) -> bytes:
        """Return what is left, an unfinished event included: the replica itself ended its answer there."""
        out = self._flush()
        held, self._held = self._held, b""
        out += self._frame(held)
        if not self._started:
            self._started = True
            out = self._out
        return out + LAST_CHUNK if self._chunked else out

    def fail(self, event: bytes) -> bytes:
        """Return `event` framed as the last of the stream, after the whole events that are still here."""
        out = self._flush()
        self._held = b""
        out += self._frame(event)
        return out + LAST_CHUNK if self._chunked else out

    def _passable(self, payload: bytes) -> bytes:
        if self._held:
            payload = self._held + payload
            self._held = b""
        if not payload.endswith((b"\n\n", b"\r\n\r\n")):
            payload = self._hold_back(payload)
            if not payload:
                return b""
        if self._hides_usage and b'"usage"' in payload:
            payload = _EVENT.sub(self._keep_or_hide, payload)
        if self._form is ApiForm.RESPONSES and not self.first:
            self.first = payload
        self._previous = self._last
        self._last = payload
        return payload

    def _keep_or_hide(self, event: re.Match[bytes]) -> bytes:
        text = event[0]
        if is_usage_event(text):
            self._hidden = text
            return b""
        return text

    def _hold_back(self, payload: bytes) -> bytes:
        lf = payload.rfind(b"\n\n")
        crlf = payload.rfind(b"\r\n\r\n")
        whole = max(lf + 2 if lf >= 0 else 0, crlf + 4 if crlf >= 0 else 0)
        if whole == 0 and len(payload) > EVENT_LIMIT:
            return payload
        self._held = payload[whole:]
        return payload[:whole]
