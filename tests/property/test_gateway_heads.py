"""A head that is known by its bytes means exactly what llhttp and the checks make of it."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from gateway_kit import KEY, grant

from modelgrid.domain.routing import GatewaySettings, RoutingTable
from modelgrid.gateway.core import Core
from modelgrid.gateway.errors import Refusal
from modelgrid.gateway.heads import HEADS_LIMIT, NOT_AGAIN, AnswerHead, Head, KnownHeads, head_of
from modelgrid.gateway.protocol import ClientConnection
from modelgrid.gateway.reader import RequestReader
from modelgrid.gateway.relay import status_line
from modelgrid.gateway.request import Request
from modelgrid.gateway.upstream import Pool, UpstreamConnection

if TYPE_CHECKING:
    from modelgrid.gateway.exchange import Exchange

SETTINGS = GatewaySettings(max_body_bytes=1000, max_header_bytes=2000)


class Taken:
    """Stands where the client's connection stands, and keeps what was read."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.requests: list[dict[str, Any]] = []

    def check(self, request: Request) -> Refusal | None:
        return request.check_head(self.core.keys, self.core.settings, self.core.deadlines.wall)

    def take(self, request: Request) -> None:
        refusal = request.refusal
        if refusal is not None:
            self.requests.append({"refused": refusal.code, "keep_alive": request.keep_alive})
            return
        self.requests.append({
            "method": request.method, "path": request.path, "query": request.query, "version": request.version,
            "content_type": request.content_type, "client_id": request.client_id, "origin": request.origin,
            "keep_alive": request.keep_alive, "endpoint": request.endpoint, "form": request.form,
            "grant": request.grant and request.grant.id, "headers": b"".join(request.headers), "size": request.size,
            "body": request.take_body(),
        })  # fmt: skip

    def more_is_due(self) -> None: ...

    def continue_if_expected(self) -> None: ...
    def hold(self, _: int) -> bool:
        return True


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def core_of(loop: asyncio.AbstractEventLoop, *, forgets: bool = False) -> Core:
    core = Core(loop, 0)
    core.apply(RoutingTable(epoch="e", generation=1, keys=(grant(),), settings=SETTINGS))
    if forgets:
        core.request_heads.find = core.answer_heads.find = lambda _: None  # type: ignore[assignment]
    return core


def read(core: Core, pieces: Sequence[bytes]) -> tuple[list[dict[str, Any]], bool, bool]:
    taken = Taken(core)
    reader = RequestReader(core, cast("ClientConnection", taken), core.request_heads)
    for piece in pieces:
        if not reader.ended:
            reader.feed(piece)
    return taken.requests, reader.ended, reader.request is not None


LINES = [
    b"Host: gateway", b"host: gateway:80", b"Host: other", b"Host: a/b", b"Host:",
    b"Authorization: Bearer " + KEY.encode(), b"authorization: bearer " + KEY.encode(), b"x-api-key: " + KEY.encode(),
    b"Authorization: Bearer mg-wrong", b"Cookie: a=b", b"Connection: close", b"Connection: keep-alive, X-A",
    b"Connection: upgrade", b"Upgrade: h2c", b"X-A: 1", b"X-A : 1", b" folded", b"X-A: \x01", b"Expect: 100-continue",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Content-Type: application/json",
    b"Origin: http://a", b"X-Request-Id: abc", b"Content-Encoding: gzip", b"Content-Length: 5", b"Content-Length: ",
    b"content-length: 5", b"Content-Length: 05", b"Content-Length: +5", b"Content-Length: 5, 5", b"Content-Length : 5",
    b"Content-Length:5", b"Content-Length: 999999999999999", b"X: Content-Length: 5", b"",
]  # fmt: skip
FIRST = [
    b"POST /v1/chat/completions HTTP/1.1", b"POST /v1/chat/completions?a=b HTTP/1.1", b"POST /v1/messages HTTP/1.1",
    b"POST /v1/chat/completions HTTP/1.0", b"GET /v1/models HTTP/1.1", b"POST /nowhere HTTP/1.1", b"POST  / HTTP/1.1",
    b"CONNECT a:1 HTTP/1.1", b"POST http://a/v1/embeddings HTTP/1.1", b"POST /v1/embeddings HTTP/1.2",
]  # fmt: skip
GOOD = [LINES[0], LINES[5], b"Content-Type: application/json"]

any_lines = st.lists(st.sampled_from(LINES), max_size=6)
odd_ends = st.sampled_from([b"\r\n"] * 6 + [b"\n", b"\r", b"\r\r\n"])
line_ends = st.one_of(st.just(b"\r\n"), odd_ends)
lengths = st.sampled_from([b"0", b"3", b"5", b"007", b"12", b"1000", b"1001", b"99999999999999999999"])


@st.composite
def heads(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """The two parts of a head, around the digits of a Content-Length."""
    good = draw(st.integers(0, 3))  # three in four begin as what is accepted
    lines = GOOD + draw(st.lists(st.sampled_from(LINES), max_size=1)) if good else draw(any_lines)
    first = FIRST[0] if good else draw(st.sampled_from(FIRST))
    end = b"\r\n" if good else draw(odd_ends)
    name = draw(st.sampled_from([b"Content-Length: "] * 4 + [b"content-length: ", b"Content-length:  ", b"X-Length: "]))
    at = draw(st.integers(0, len(lines)))
    before = b"".join(line + end for line in [first, *lines[:at]])
    after = b"".join(end + line for line in lines[at:]) + b"\r\n\r\n"
    return before + name, after


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in at} | {0, len(data)})
    return [data[start:stop] for start, stop in pairwise(places)]


@given(
    heads(), lengths, lengths, st.binary(max_size=30), st.lists(st.integers(0, 400), max_size=3), st.integers(0, 300),
    st.sampled_from([b"", b"\r", b"\n", b" ", b"\x00", b"a", b"5"]),
)  # fmt: skip
@example((b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: ", b"\r\n\r\n"), b"3", b"5", b"", [], 0, b"")
def test_known_or_not_a_request_reads_the_same(
    loop: asyncio.AbstractEventLoop, head: tuple[bytes, bytes], first: bytes, second: bytes, tail: bytes,
    cuts: list[int], where: int, slip: bytes,
) -> None:  # fmt: skip
    """Three requests on one connection; the second has the head of the first and another length; in the third one byte
    of that head is another. Whatever is known by then, it reads as if nothing ever were."""

    def request(digits: bytes) -> bytes:
        length = int(digits) if len(digits) < 4 else 8
        return head[0] + digits + head[1] + b"x" * length

    third = request(first)
    place = where % (len(head[0]) + len(head[1]))
    third = third[:place] + slip + third[place + len(slip) :]
    pieces = [request(first), *cut(request(second), cuts), third + tail, request(first)]
    assert read(core_of(loop), pieces) == read(core_of(loop, forgets=True), pieces)


class Heard:
    """Stands where the exchange stands, and keeps what a replica's answer was."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.body = b""

    def answer_began(self, status: int, lines: bytes, length: int | None, *, sse: bool) -> None:
        self.heard += [status_line(status) + lines, length, sse]

    def answer_payload(self, data: bytes) -> None:
        self.body += data

    def answer_continues(self) -> bool:
        return True

    def answer_ended(self, connection: UpstreamConnection, *, reusable: bool) -> None:
        self.heard += ["whole", self.body, reusable]
        connection.exchange = None

    def answer_whole(self, connection: UpstreamConnection, head: AnswerHead, payload: bytes, reusable: bool) -> None:
        self.heard += [head.lines, len(payload), False]
        self.body = payload
        self.answer_ended(connection, reusable=reusable)

    def broken(self, kind: str, reason: str, *, status: int = 502) -> None:
        self.heard += [kind]


class Wire:
    """A transport that leads nowhere."""

    def get_extra_info(self, _: str) -> None: ...
    def write(self, _: bytes) -> None: ...
    def abort(self) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0


def hear(core: Core, answers: Sequence[Sequence[bytes]]) -> list[list[Any]]:
    heard = []
    for pieces in answers:  # each on the connection of the one before, as long as that is to be kept
        if not heard or heard[-1][-1:] != [True]:
            connection = UpstreamConnection(core, cast("Pool", None))
            connection.connection_made(cast("asyncio.Transport", Wire()))
        exchange = Heard()
        connection.send(cast("Exchange", exchange), b"", b"")
        for piece in pieces:
            if connection.exchange is not None:
                connection.data_received(piece)
        connection.exchange = None
        heard.append(exchange.heard)
    return heard


ANSWER_LINES = [
    b"server: uvicorn", b"date: Thu, 26 Nov 2026 11:00:00 GMT", b"content-type: application/json",
    b"content-type: text/event-stream", b"Connection: close", b"Connection: keep-alive",
    b"transfer-encoding: chunked", b"access-control-allow-origin: *", b"x-request-id: 1", b"content-length: 3",
    b"content-length: ",
    b"X : 1", b" fold", b"X: \x01", b"",
]  # fmt: skip
STATUS = [b"HTTP/1.1 200 OK"] * 6 + [
    b"HTTP/1.1 100 Continue", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 X", b"HTTP/1.1 429 Too Many",
    b"HTTP/1.0 200 OK", b"HTTP/1.1 500 ", b"HTTP/1.1 2000 OK", b"ICY 200 OK",
    b"HTTP/1.1 103 Early\r\ncontent-length: 3\r\n\r\nHTTP/1.1 200 OK",
]  # fmt: skip


@given(
    st.sampled_from(STATUS), st.lists(st.sampled_from(ANSWER_LINES), max_size=4), st.integers(0, 4), line_ends,
    lengths, lengths, st.lists(st.integers(0, 300), max_size=2),
    st.sampled_from([b"", b"", b"x", b"HTTP/1.1 200 OK\r\n"]),
)  # fmt: skip
def test_known_or_not_an_answer_is_the_same(
    loop: asyncio.AbstractEventLoop, status: bytes, lines: list[bytes], at: int, line_end: bytes, first: bytes,
    second: bytes, cuts: list[int], tail: bytes,
) -> None:  # fmt: skip
    def answer(digits: bytes) -> bytes:
        length = int(digits) if len(digits) < 4 else 8
        head = [status, *lines[:at], b"content-length: " + digits, *lines[at:]]
        return b"\r\n".join(head) + line_end + b"\r\n" + b"x" * length

    answers = [[answer(first)], cut(answer(second), cuts), [answer(second)], [answer(first) + tail], [answer(second)]]
    assert hear(core_of(loop), answers) == hear(core_of(loop, forgets=True), answers)


def test_a_good_head_is_known_from_its_second_time_on(loop: asyncio.AbstractEventLoop) -> None:
    core = core_of(loop)
    head = b"\r\n".join([FIRST[0], *GOOD]) + b"\r\nContent-Length: "
    read(core, [head + b"5\r\n\r\n12345"])
    assert len(core.request_heads) == 1
    (request,), _, _ = read(core, [head + b"11\r\n\r\n123", b"45", b"678901"])
    assert len(core.request_heads) == 1
    assert (request["body"], request["size"], request["grant"]) == (b"12345678901", 11, "key-1")


def test_heads_are_forgotten_with_keys_and_settings_and_an_expired_key_is_not_known(
    loop: asyncio.AbstractEventLoop,
) -> None:
    core = core_of(loop)
    raw = b"\r\n".join([FIRST[0], *GOOD]) + b"\r\nContent-Length: 2\r\n\r\n{}"
    table = RoutingTable(epoch="e", generation=1, keys=(grant(),), settings=SETTINGS)
    changes: list[dict[str, Any]] = [
        {"keys": (grant(label="other"),)},
        {"keys": (grant(expires_at=core.deadlines.wall + 60),), "settings": GatewaySettings()},
    ]
    for generation, change in enumerate(changes, start=2):
        read(core, [raw])
        assert len(core.request_heads) == 1
        core.apply(RoutingTable(epoch="e", generation=generation, **({"settings": SETTINGS} | change)))
        assert len(core.request_heads) == 0
    read(core, [raw])
    core.deadlines.wall += 61
    assert read(core, [raw])[0] == [{"refused": "invalid_api_key", "keep_alive": True}]
    assert table.generation == 1


def head(name: bytes) -> Head:
    found = head_of(name + b"\r\nContent-Length: 5\r\nA: b\r\n\r\n")
    assert found is not None
    return found


def test_what_is_known_is_bounded() -> None:
    known: KnownHeads[int] = KnownHeads()
    for number in range(3 * HEADS_LIMIT):
        one = head(b"%d" % number)
        known.learn(one, number)
        found = known.find(one.key)
        assert found is not None
        assert found.value == number
        assert len(known) <= HEADS_LIMIT


def test_who_holds_a_head_hears_that_it_was_forgotten() -> None:
    known: KnownHeads[int] = KnownHeads()
    one = head(b"x")
    known.learn(one, 1)
    known.learn(one, 1)
    held = known.find(one.key)
    assert held is not None
    again = b"x\r\nContent-Length: 12\r\nA: b\r\n\r\nbody"
    assert held.again(again) == (len(again) - 4, 12)
    known.clear()
    assert held.value is None
    assert held.again(again) == NOT_AGAIN


@given(
    st.lists(
        st.sampled_from([
            b"A: b", b"Content-Length: 7", b"content-length: 3", b"Content-Length: ", b"Content-Length: x", b"",
        ]),
        max_size=4,
    ),
    st.integers(0, 4),
    st.binary(max_size=16) | st.integers(0, 10**17).map(lambda number: b"%d" % number),
    st.binary(max_size=3),
)  # fmt: skip
@example([], 0, b"\xd9\xa3", b"")
@example([b""], 1, b"5", b"")
def test_the_same_head_again_is_what_a_search_would_find(
    lines: list[bytes], at: int, digits: bytes, tail: bytes
) -> None:
    """`again` takes exactly the heads that `head_of` would give the same key."""

    def text(length: bytes) -> bytes:
        return b"\r\n".join([b"POST / HTTP/1.1", *lines[:at], b"Content-Length: " + length, *lines[at:], b"", b""])

    first = head_of(text(b"5"))
    if first is None:
        return
    known: KnownHeads[int] = KnownHeads()
    known.learn(first, 1)
    held = known.find(first.key)
    assert held is not None
    for data in (text(digits) + tail, text(b"77") + tail, tail + text(b"5")):
        found = head_of(data)
        same = found is not None and found.key == first.key and found.digits_at == first.digits_at
        assert held.again(data) == ((found.body_at, found.length) if same and found is not None else NOT_AGAIN)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 12\r\nA: b\r\n\r\nxyz",
         (b"POST / HTTP/1.1\r\nContent-Length: \r\nA: b", 33, 45, 12)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 007\r\n\r\n", (b"HTTP/1.1 200 OK\r\ncontent-length: ", 33, 40, 7)),
        (b"POST / HTTP/1.1\r\nContent-Length: 12\r\n", None),
        (b"POST / HTTP/1.1\r\nContent-Length: \r\n\r\n", None),
        (b"POST / HTTP/1.1\r\nA: b\r\n\r\nContent-Length: 1\r\n", None),
        (b"POST / HTTP/1.1\r\nX-Content-Length: 1\r\n\r\n", None),
        (b"POST / HTTP/1.1\r\nContent-Length: 1" + b"\r\nA: " + b"b" * 5000 + b"\r\n\r\n", None),
    ],
)  # fmt: skip
def test_where_a_head_ends(data: bytes, found: tuple[bytes, int, int, int] | None) -> None:
    assert head_of(data) == found
