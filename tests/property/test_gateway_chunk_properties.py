"""However a replica's chunks are written and cut, the client gets the same payload, or the same failure: chunks that
come one by one pass as they are, past the parser (`relay.whole_chunk`), and nothing else does."""

import asyncio
import hashlib
from itertools import pairwise

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelgrid.domain.routing import KeyGrant, ModelRoute, ModelState, Replica, RoutingTable
from modelgrid.gateway.core import Core
from modelgrid.gateway.protocol import ClientConnection
from modelgrid.gateway.relay import whole_chunk
from modelgrid.gateway.upstream import UpstreamConnection
from modelgrid.services.api_keys import make_secret

SECRET = make_secret(7)
BODY = b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}'
REQUEST = (
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
    % (SECRET.encode(), len(BODY), BODY)
)  # fmt: skip
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[{"text":" word"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'


def chunk(payload: bytes, size: bytes = b"%x") -> bytes:
    return size % len(payload) + b"\r\n" + payload + b"\r\n"


GOOD = [
    chunk(EVENT), chunk(EVENT + EVENT), chunk(USAGE), chunk(EVENT[:9]), chunk(EVENT[9:]), chunk(b"\n"), chunk(b"\r\n"),
    chunk(EVENT, b"%X"), chunk(EVENT, b"0%x"), chunk(EVENT, b"%x;a=b"), chunk(b"data: 1\r\n\r\n"), chunk(chunk(EVENT)),
]  # fmt: skip
BAD = [
    chunk(EVENT, b"+%x"), chunk(EVENT, b" %x"), chunk(EVENT, b"0x%x"), chunk(EVENT, b"%x_"), chunk(EVENT)[:-1],
    chunk(EVENT)[:-2] + b"\n\n", b"2" + chunk(EVENT), chunk(EVENT)[1:], b"\r\n", b"zz\r\n",
]  # fmt: skip
cuts = st.lists(st.integers(0, 600), max_size=14)


class Wire:
    """Stands where a transport is: keeps what is written."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.out.append(data)

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    close = abort

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> None:
        return None


class Payload:
    """Reads one answer."""

    def __init__(self, raw: bytes) -> None:
        self.body, self.complete = b"", False
        httptools.HttpResponseParser(self).feed_data(raw)

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


@pytest.fixture(scope="module")
def core() -> Core:
    loop = asyncio.new_event_loop()
    try:
        core = Core(loop, 0)
    finally:
        loop.close()
    key = KeyGrant(id="k", label="l", digest=hashlib.sha256(SECRET.encode()).hexdigest())
    replica = Replica(id="r", host="127.0.0.1", port=1)
    model = ModelRoute(id="m", names=("m",), state=ModelState.READY, created=1, replicas=(replica,))
    core.apply(RoutingTable(epoch="e", generation=1, models=(model,), keys=(key,)))
    return core


def answered(core: Core, pieces: list[bytes]) -> Payload:
    """Return what a client gets when a replica sends `pieces`."""
    (entry,) = core.fleet.replicas()
    client, upstream, wire = ClientConnection(core), UpstreamConnection(core, entry.pool), Wire()
    client.connection_made(wire)  # type: ignore[arg-type]
    upstream.connection_made(Wire())  # type: ignore[arg-type]
    entry.pool.give_back(upstream)
    client.data_received(REQUEST)
    for piece in pieces:
        upstream.data_received(piece)
    upstream.connection_lost(None)
    client.connection_lost(None)
    return Payload(b"".join(wire.out))


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted(min(place, len(data)) for place in at), len(data)]
    return [data[a:b] for a, b in pairwise(places) if a < b]


@given(st.lists(st.sampled_from(GOOD), max_size=8), cuts)
@example([chunk(EVENT)] * 3, [])
def test_good_chunks_pass_unchanged_however_they_come(core: Core, chunks: list[bytes], at: list[int]) -> None:
    whole = HEAD + b"".join(chunks) + b"0\r\n\r\n"
    expected = Payload(whole).body
    for pieces in (cut(whole, at), [HEAD, *chunks, b"0\r\n\r\n"]):
        got = answered(core, pieces)
        assert got.complete
        assert got.body == expected


@given(st.lists(st.sampled_from(GOOD), max_size=4), st.sampled_from(BAD), cuts)
def test_bad_chunks_fail_however_they_come(core: Core, chunks: list[bytes], bad: bytes, at: list[int]) -> None:
    chunks = [*chunks, bad, chunk(EVENT), b"0\r\n\r\n"]
    for pieces in (cut(HEAD + b"".join(chunks), at), [HEAD, *chunks]):
        got = answered(core, pieces)
        assert got.complete
        assert b"replica_failed" in got.body
        assert b"[DONE]" not in got.body


@given(st.binary(max_size=40) | st.sampled_from([*GOOD, *BAD]))
@example(b"5\r\nhello\r\n")
def test_a_whole_chunk_is_one_for_the_parser(data: bytes) -> None:
    begin = whole_chunk(data)
    if begin:
        got = Payload(HEAD + data + b"0\r\n\r\n")
        assert got.complete
        assert got.body == data[begin:-2]
