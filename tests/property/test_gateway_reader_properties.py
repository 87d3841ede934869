"""However the bytes of a connection are cut, and whatever heads are known already, the reader gives the same requests
and the same refusal at the end."""

import asyncio
import hashlib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelgrid.domain.routing import GatewaySettings, KeyGrant, RoutingTable
from modelgrid.gateway.core import Core
from modelgrid.gateway.errors import Refusal
from modelgrid.gateway.reader import RequestReader
from modelgrid.gateway.request import Request
from modelgrid.services.api_keys import make_secret

SECRET = make_secret(7)
GRANT = KeyGrant(id="k", label="l", digest=hashlib.sha256(SECRET.encode()).hexdigest())
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + SECRET.encode() + b"\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
GOOD = HEAD + b'Content-Length: 13\r\n\r\n{"model":"m"}'
PIECES = [
    GOOD,
    HEAD + b'content-length: 13\r\n\r\n{"model":"m"}',
    HEAD + CHUNKED + b'\r\nd\r\n{"model":"m"}\r\n0\r\n\r\n',
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    HEAD, b"Content-Length: 2\r\n", b"Content-Length: \r\n", b"Content-Length: 0013\r\n", CHUNKED, b"\r\n", b"\r\n\r\n",
    b"\n", b"\r", b" ", b"\0", b"X: y\r\n", b"X: y\r\n z\r\n", b"Host: b\r\n", b"Expect: 100-continue\r\n",
    b"Connection: close\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"hello", b'{"model":"m"}',
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
]  # fmt: skip
streams = st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), min_size=1, max_size=8).map(b"".join)
cuts = st.lists(st.integers(0, 2000), max_size=12)


@dataclass
class Recorder:
    """Stands where the client connection is: it takes each request, and answers none."""

    core: Core
    taken: list[tuple[Any, ...]] = field(default_factory=list)

    def check(self, request: Request) -> Refusal | None:
        return request.check_head(self.core.keys, self.core.settings, self.core.deadlines.wall)

    def take(self, request: Request) -> None:
        refusal = request.refusal
        told = (refusal.status, refusal.code) if refusal is not None else None
        body = request.take_body() if refusal is None else b""  # how much is kept depends on when it was refused
        self.taken.append((request.method, request.path, told, body))

    def more_is_due(self) -> None:
        """Deadlines are not the reader's."""

    def continue_if_expected(self) -> None:
        """Nor is asking for the body."""

    def hold(self, size: int) -> bool:
        """There is room for every body."""
        return size >= 0


@pytest.fixture(scope="module")
def core() -> Core:
    loop = asyncio.new_event_loop()
    made = Core(loop, 0)
    made.apply(RoutingTable(epoch="e", generation=1, keys=(GRANT,), settings=GatewaySettings()))
    loop.close()
    return made


def read(core: Core, pieces: list[bytes]) -> list[tuple[Any, ...]]:
    client = Recorder(core)
    reader = RequestReader(core, client, core.request_heads)  # type: ignore[arg-type]
    for piece in pieces:
        if piece and not reader.ended:
            reader.feed(piece)
    return client.taken


def agree(found: list[tuple[Any, ...]], whole: list[tuple[Any, ...]]) -> bool:
    """Whether both say the same. A refusal that came before the body was there ends the reading: then there is less."""
    return found == whole or (found == whole[: len(found)] and bool(found) and found[-1][2] is not None)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:stop] for start, stop in pairwise(marks)]


@given(streams, cuts)
@example(GOOD + GOOD, [5, 90])
@example(GOOD + HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", [])
def test_cuts_and_known_heads_change_nothing(core: Core, stream: bytes, places: list[int]) -> None:
    core.request_heads.clear()
    whole = read(core, [stream])
    core.request_heads.clear()
    assert agree(read(core, cut(stream, places)), whole)
    read(core, [GOOD])
    assert read(core, [stream]) == whole, "with heads known from before"
    assert agree(read(core, cut(stream, places)), whole)
    assert agree(read(core, [stream[at : at + 1] for at in range(len(stream))]), whole), "in single bytes"
