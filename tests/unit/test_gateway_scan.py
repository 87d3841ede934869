"""What is read from bodies: the model's name and the usage."""

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.gateway.scan import BadBody, model_of
from modelgrid.gateway.shapes import Fields
from modelgrid.gateway.splice import ask_for_usage
from modelgrid.gateway.usage import is_usage_event, usage_of

JSON = b"application/json"
FORM = b"multipart/form-data; boundary=xx"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values, max_size=6), st.text(min_size=1), st.booleans())
def test_the_model_is_found_among_any_fields(fields: dict[str, object], name: str, ascii_only: bool) -> None:
    text = json.dumps(fields | {"model": name}, ensure_ascii=ascii_only)
    try:
        body = text.encode()
    except UnicodeEncodeError:  # a lone surrogate is no UTF-8
        return
    if any(0xD800 <= ord(letter) < 0xE000 for letter in name):
        with pytest.raises(BadBody):
            model_of(body, JSON)
    else:
        assert model_of(body, JSON) == name


@given(st.binary(max_size=400), st.sampled_from([JSON, b"", FORM, b"multipart/form-data", b"text/plain"]))
def test_no_body_raises_anything_but_bad_body(body: bytes, content_type: bytes) -> None:
    with suppress(BadBody):
        assert isinstance(model_of(body, content_type), str)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_form_raises_anything_but_bad_body(before: bytes, after: bytes) -> None:
    part = b'\r\n--xx\r\nContent-Disposition: form-data; name="model"\r\n\r\nm'
    with suppress(BadBody):
        assert isinstance(model_of(b"--xx" + before + part + after + b"\r\n--xx--", FORM), str)


def test_the_last_of_two_models_counts_as_in_the_engine() -> None:
    assert model_of(b'{"model": "a", "model": "b"}', JSON) == json.loads('{"model": "a", "model": "b"}')["model"] == "b"


def test_form_with_a_quoted_boundary_and_a_look_alike_in_a_file() -> None:
    body = (
        b'--a b\r\nContent-Disposition: form-data; name="file"; filename="name=model"\r\n\r\n'
        b'Content-Disposition: form-data; name="model"\r\n\r\nfake\r\n'
        b"--a b\r\ncontent-disposition: form-data; name=model\r\n\r\nreal\r\n--a b--\r\n"
    )
    assert model_of(body, b'Multipart/Form-Data; boundary="a b"') == "real"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "not valid JSON"),
        (b"[1]", "not what was expected"),
        (b'{"model": 1}', "not what was expected"),
        (b"{}", "names no model"),
        (b'{"model": null}', "names no model"),
        (b'{"a":' * 200_000, "not valid JSON"),
    ],
)
def test_bad_json_says_why(body: bytes, why: str) -> None:
    with pytest.raises(BadBody, match=why):
        model_of(body, JSON)


def test_a_form_model_that_is_too_long_or_no_text() -> None:
    head = b'--xx\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
    with pytest.raises(BadBody, match="too long"):
        model_of(head + b"x" * 600 + b"\r\n--xx--", FORM)
    with pytest.raises(BadBody, match="UTF-8"):
        model_of(head + b"\xff\r\n--xx--", FORM)


@pytest.mark.parametrize(
    ("tail", "tokens"),
    [
        (b"", (0, 0)),
        (b'{"usage": null}', (0, 0)),
        (b'..."usage":{"prompt_tokens":5,"total_tokens":12,"completion_tokens":7}}', (5, 12 - 5)),
        (b'"usage":{"prompt_tokens":5,"total_tokens":5}}', (5, 0)),
        (b'"usage":{"input_tokens":3,"output_tokens":4}}', (3, 4)),
        (b'"usage":{"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":1},"completion_tokens":2}}', (5, 2)),
        (b'"usage" : {"prompt_tokens": 1, "completion_tokens": 2}\n', (1, 2)),
        (b'"usage":{"prompt_tokens":1,"completion_tokens":2}},"usage":null', (1, 2)),
        (b'"usage":{"type":"string"}', (0, 0)),
        (b'"usage":{"prompt_tokens":"many"}', (0, 0)),
        (b'"usage":{"prompt_tokens":-4,"completion_tokens":1}', (0, 1)),
        (b'"usage":{"prompt_tokens":5,"compl', (0, 0)),
        (b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":8}}\n\ndata: [DONE]\n\n', (9, 8)),
    ],
)
def test_usage(tail: bytes, tokens: tuple[int, int]) -> None:
    assert usage_of(tail) == tokens


@given(st.text(), st.integers(0, 10**9), st.integers(0, 10**9))
def test_generated_text_never_passes_for_usage(text: str, into: int, out: int) -> None:
    content = text + '"usage":{"prompt_tokens":1,"completion_tokens":1}'
    answer = {"content": content, "usage": {"prompt_tokens": into, "completion_tokens": out}, "last": content}
    assert usage_of(json.dumps(answer).encode()) == (into, out)
    assert usage_of(json.dumps({"content": content}).encode()) == (0, 0)


@given(st.binary(max_size=300))
def test_no_tail_raises(tail: bytes) -> None:
    assert len(usage_of(tail + b'"usage":{' + tail)) == 2


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"usage":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'data: {"usage":1,"choices":' + b"[" * 100_000,
        b'data: {"usage":1,"choices":["\xff"]}',
        b'data: {"usage":1,"\xff":2,"choices":{}}',
    ],
)
def test_what_an_engine_sends_for_an_event_raises_nothing(event: bytes) -> None:
    assert is_usage_event(event) is False


def test_deep_options_of_a_stream_are_left_alone() -> None:
    deep = b'{"include_usage":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    fields = Fields(stream=msgspec.Raw(b"true"), stream_options=msgspec.Raw(deep))
    assert ask_for_usage(b"{}", fields) is None
