"""Heads that were parsed before, by their bytes.

A client sends the same head with every request, but for the digits of Content-Length; a replica does so with its
answers. What llhttp and the checks made of a head is a function of its bytes, of the keys and of the settings, so it is
kept, and a head that comes again costs one lookup, or, right after itself on one connection, two comparisons. Nothing
is parsed here: a head that was never accepted whole is never found, whatever it looks like. Forgotten when keys or
settings change.
"""

import re
from typing import Final, Generic, NamedTuple, TypeVar

HEAD_LIMIT: Final = 4096
"""Longer heads are parsed each time."""
HEADS_LIMIT: Final = 512
"""Heads kept; when they are full all are forgotten. Bounds the memory at 4 MB, whatever clients send."""

_DIGITS: Final = 15
_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,%d})\r\n" % _DIGITS)
"""In a head that ends with a line end: a whole header line, since no line end stands inside a line."""

T = TypeVar("T")


class Head(NamedTuple):
    """The head that some bytes begin with."""

    key: bytes
    """It without the digits of its length and without its end."""
    digits_at: int
    body_at: int
    length: int
    """Its Content-Length."""


def head_of(data: bytes) -> Head | None:
    """Return the head that `data` begins with; None unless it is whole, of usual size and gives a length.

    Two heads with one key differ in the digits of their length only, because these are taken out where the first such
    line stands, and a line without digits is none.
    """
    end = data.find(b"\r\n\r\n", 0, HEAD_LIMIT)
    if end < 0:
        return None
    found = _LENGTH.search(data, 0, end + 2)
    if found is None:
        return None
    start, stop = found.span(1)
    return Head(data[:start] + data[stop:end], start, end + 4, int(data[start:stop]))


class Known(Generic[T]):
    """A head that was accepted, and what was made of it."""

    __slots__ = ("_after", "_before", "value")

    def __init__(self, head: Head, value: T) -> None:
        self._before, self._after = head.key[: head.digits_at], head.key[head.digits_at :] + b"\r\n\r\n"
        self.value: T | None = value
        """None when it was forgotten."""

    def again(self, data: bytes) -> tuple[int, int]:
        """Return where the body begins and how long it is to be, when `data` begins with this very head but for the
        digits of its length; (0, 0) when not."""
        before = self._before
        if self.value is None or not data.startswith(before):
            return NOT_AGAIN
        at = len(before)
        stop = data.find(b"\r", at, at + _DIGITS + 1)
        if stop < 0 or not data.startswith(self._after, stop):
            return NOT_AGAIN
        digits = data[at:stop]
        return (stop + len(self._after), int(digits)) if digits.isdigit() else NOT_AGAIN


NOT_AGAIN: Final = (0, 0)


class KnownHeads(Generic[T]):
    """What was made of heads, by their key."""

    __slots__ = ("_known", "find")

    def __init__(self) -> None:
        self._known: dict[bytes, Known[T]] = {}
        self.find = self._known.get
        """Return what `learn` was given for a key, or None."""

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, head: Head, value: T) -> None:
        """Keep what was made of `head`."""
        if head.key in self._known:  # whoever holds what is there must hear that it was forgotten
            return
        if len(self._known) >= HEADS_LIMIT:
            self.clear()
        self._known[head.key] = Known(head, value)

    def clear(self) -> None:
        """Forget everything, what connections still hold included."""
        for known in self._known.values():
            known.value = None
        self._known.clear()


class AnswerHead:
    """The head of a replica's good answer of known length, ready to be passed on."""

    __slots__ = ("keep_alive", "lines")

    def __init__(self, lines: bytes, *, keep_alive: bool) -> None:
        self.lines = lines
        """Status line and headers for the client, each with its line end."""
        self.keep_alive = keep_alive
