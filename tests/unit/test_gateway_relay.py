"""Framing of answers towards the client."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.gateway.errors import ApiForm, Refusal, body_of, final_event
from modelgrid.gateway.relay import EVENT_LIMIT, HOLD_BYTES, Answer, EventAnswer

HEAD = b"HTTP/1.1 200 OK\r\n"
FAILURE = Refusal(status=502, code="replica_failed", message="Replica 'r' died.")
events = st.lists(
    st.tuples(st.text(alphabet="abc{}\n\r", max_size=12), st.sampled_from(["\n", "\r\n"])).map(
        lambda pair: f"data: {pair[0].strip()}{pair[1]}{pair[1]}".replace("\n\n\n", "\n\n").encode()
    ),
    min_size=1,
    max_size=8,
)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True) if b > a]


def unchunk(data: bytes) -> tuple[bytes, bool]:
    """(payload, ended)"""
    payload = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            assert data == b"\r\n"
            return payload, True
        payload, data = payload + data[:length], data[length + 2 :]
    return payload, False


@given(events, st.lists(st.integers(0, 500), max_size=10))
def test_a_stream_cut_anywhere_passes_unchanged_in_whole_events(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    answer = EventAnswer(HEAD, form=ApiForm.OPENAI, chunked=True)
    out = b""
    for piece in split(stream, cuts):
        answer.add(piece)
        out += answer.take()
        if out:
            sent, _ = unchunk(out.partition(b"\r\n\r\n")[2])
            assert sent.endswith((b"\n\n", b"\r\n\r\n"))
    out += answer.end()
    head, _, framed = out.partition(b"\r\n\r\n")
    assert head == HEAD + b"Transfer-Encoding: chunked"
    assert unchunk(framed) == (stream, True)


@given(events, st.lists(st.integers(0, 500), max_size=10), st.integers(0, 500))
def test_a_stream_that_breaks_anywhere_ends_with_the_error_alone(parts: list[bytes], cuts: list[int], at: int) -> None:
    stream = b"".join(parts)
    stream = stream[: at % (len(stream) + 1)]
    answer = EventAnswer(HEAD, form=ApiForm.OPENAI, chunked=True)
    out = b""
    for piece in split(stream, cuts):
        answer.add(piece)
        out += answer.take()
    event = final_event(FAILURE, ApiForm.OPENAI, "id-1")
    out += answer.fail(event) or b""
    payload, ended = unchunk(out.partition(b"\r\n\r\n")[2])
    assert ended
    assert payload.endswith(event)
    before = payload[: -len(event)]
    assert stream.startswith(before)
    assert before == b"" or before.endswith((b"\n\n", b"\r\n\r\n"))


def test_without_chunks_the_payload_is_bare() -> None:
    answer = EventAnswer(HEAD, form=ApiForm.OPENAI, chunked=False)
    answer.add(b"data: 1\n\n")
    assert answer.take() == HEAD + b"\r\ndata: 1\n\n"
    assert answer.end() == b""


def test_nothing_is_sent_before_the_first_payload() -> None:
    for answer in (EventAnswer(HEAD, form=ApiForm.OPENAI, chunked=True), Answer(HEAD, length=None, chunked=True)):
        assert answer.take() == b""
        assert not answer.started
        answer.add(b"x\n\n")
        assert answer.take() == HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nx\n\n\r\n"
        assert answer.started


def test_a_short_answer_waits_until_it_is_whole_and_a_long_one_does_not() -> None:
    short = Answer(HEAD, length=4, chunked=True)
    short.add(b"ab")
    assert short.take() == b""
    assert not short.started
    short.add(b"cd")
    assert short.end() == HEAD + b"Content-Length: 4\r\n\r\nabcd"
    long = Answer(HEAD, length=HOLD_BYTES + 1, chunked=True)
    long.add(b"ab")
    assert long.take() == HEAD + b"Content-Length: %d\r\n\r\nab" % (HOLD_BYTES + 1)
    assert long.fail(b"event") == b""


def test_an_empty_answer_still_has_its_head() -> None:
    assert Answer(HEAD, length=0, chunked=True).end() == HEAD + b"Content-Length: 0\r\n\r\n"
    assert Answer(HEAD, length=None, chunked=True).end() == HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    empty = EventAnswer(HEAD, form=ApiForm.OPENAI, chunked=True)
    assert empty.end() == HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"


def test_an_event_without_end_is_passed_in_pieces() -> None:
    answer = EventAnswer(HEAD, form=ApiForm.OPENAI, chunked=False)
    answer.add(b"data: " + b"x" * EVENT_LIMIT)
    assert len(answer.take()) > EVENT_LIMIT


def test_the_tail_holds_the_last_two_flushes_of_a_stream_and_the_end_of_anything_else() -> None:
    stream = EventAnswer(HEAD, form=ApiForm.OPENAI, chunked=True)
    for piece in (b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"):
        stream.add(piece)
        stream.take()
    assert stream.tail == b"data: 2\n\ndata: 3\n\n"
    plain = Answer(HEAD, length=None, chunked=True)
    for _ in range(1000):
        plain.add(b"0123456789")
        plain.take()
    assert plain.tail == (b"0123456789" * 1000)[-4096:]


def test_errors_in_each_form() -> None:
    limited = Refusal(status=429, code="slow_down", message="Too many.", param="model")
    assert json.loads(body_of(limited, ApiForm.OPENAI, "id")) == {
        "error": {
            "message": "Too many.",
            "type": "rate_limit_error",
            "param": "model",
            "code": "slow_down",
            "request_id": "id",
        }
    }
    assert json.loads(body_of(limited, ApiForm.ANTHROPIC, "id")) == {
        "type": "error", "error": {"type": "rate_limit_error", "message": "Too many."}, "request_id": "id",
    }  # fmt: skip
    assert final_event(FAILURE, ApiForm.OPENAI, "id").startswith(b'data: {"error":{')
    assert final_event(FAILURE, ApiForm.ANTHROPIC, "id").startswith(b'event: error\ndata: {"type":"error"')


@pytest.mark.parametrize("first", [b"", b"data: nonsense\n\n", b"event: x\n\n", b'data: {"response": 3}\n\n'])
def test_a_failed_response_stands_without_its_first_event(first: bytes) -> None:
    event = final_event(FAILURE, ApiForm.RESPONSES, "id", first)
    name, data = event.decode().strip().split("\n")
    assert name == "event: response.failed"
    assert json.loads(data[6:])["response"]["status"] == "failed"


def test_a_failed_response_repeats_the_response() -> None:
    first = (
        b'event: response.created\ndata: {"type":"response.created","response":{"id":"r1","status":"in_progress"}}\n\n'
    )
    data = final_event(FAILURE, ApiForm.RESPONSES, "id", first).decode().split("data: ")[1]
    assert json.loads(data)["response"] == {
        "object": "response", "id": "r1", "status": "failed",
        "error": {"code": "server_error", "message": "Replica 'r' died."},
    }  # fmt: skip
