"""Heads that were parsed before, by their bytes.

A client sends the same head with every request, but for the digits of Content-Length; a replica does so with its
answers. What llhttp and the checks made of a head is a function of its bytes, of the keys and of the settings, so it is
kept, and a head that comes again costs one lookup. Nothing is parsed here: a head that was never accepted whole is
never found, whatever it looks like. Forgotten when keys or settings change.
"""

import re
from typing import Generic, TypeVar

HEAD_LIMIT = 4096
"""Longer heads are parsed each time."""
HEADS_LIMIT = 512
"""Heads kept; when they are full all are forgotten. Bounds the memory at 4 MB, whatever clients send."""

_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,15})\r\n")
"""In a head that ends with a line end: a whole header line, since no line end stands inside a line."""

T = TypeVar("T")


def head_of(data: bytes) -> tuple[bytes, int, int] | None:
    """Return (key, where the body begins, Content-Length) of the head that `data` begins with.

    None unless it is whole, of usual size and gives a length. The key is the head without the digits of the length: two
    heads with one key differ in those digits only, because they are taken out where the first such line stands, and a
    line without digits is none.
    """
    end = data.find(b"\r\n\r\n", 0, HEAD_LIMIT)
    if end < 0:
        return None
    found = _LENGTH.search(data, 0, end + 2)
    if found is None:
        return None
    start, stop = found.span(1)
    return data[:start] + data[stop:end], end + 4, int(data[start:stop])


class KnownHeads(Generic[T]):
    """What was made of heads, by their key."""

    __slots__ = ("_known", "find")

    def __init__(self) -> None:
        self._known: dict[bytes, T] = {}
        self.find = self._known.get
        """Return what `learn` was given for a key, or None."""

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, key: bytes, value: T) -> None:
        """Keep what was made of the head `key`."""
        if len(self._known) >= HEADS_LIMIT:
            self._known.clear()
        self._known[key] = value

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()


class AnswerHead:
    """The head of a replica's good answer of known length, ready to be passed on."""

    __slots__ = ("keep_alive", "lines")

    def __init__(self, lines: bytes, *, keep_alive: bool) -> None:
        self.lines = lines
        """Status line and headers for the client, each with its line end."""
        self.keep_alive = keep_alive
