"""The gateway's reading of bodies against Python's own JSON, and on bytes that are no JSON at all."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelgrid.gateway.errors import ApiForm, Refusal, final_event
from modelgrid.gateway.scan import BadBody, model_of
from modelgrid.gateway.usage import usage_of

JSON = b"application/json"
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
bodies = st.dictionaries(st.sampled_from(["model", "messages", "stream", "n", "user"]) | st.text(), values, max_size=6)
fragments = st.lists(
    st.sampled_from([
        b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\u", b"\\ud83d", b"model", b'"model"', b'"m"', b"null",
        b"1e9", b"-", b"9" * 30, b"\xff", b"\xc3", b"\x00", b" ", b"\n", b'"usage"', b'"prompt_tokens"',
        b'"completion_tokens"', b"data: ", b"\r\n--b", b"\r\n\r\n", b'Content-Disposition: form-data; name="model"',
    ]) | st.binary(max_size=6),
    max_size=30,
).map(b"".join)  # fmt: skip


def read(body: bytes, content_type: bytes = JSON) -> str | None:
    """The model, or None where the body is refused."""
    try:
        return model_of(body, content_type)
    except BadBody:
        return None


@given(bodies, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_valid_json_names_the_same_model(body: dict[str, Any], ascii_only: bool, indent: int | str | None) -> None:
    try:
        data = json.dumps(body, ensure_ascii=ascii_only, indent=indent).encode()
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        return
    expected = json.loads(data).get("model")
    try:
        str(expected).encode()
    except UnicodeEncodeError:
        assert read(data) is None
        return
    assert read(data) == (expected if isinstance(expected, str) and expected else None)


@given(fragments)
@example(b'{"model":"\xff"}')
@example(b'{"model":"m","x":' + b"[" * 100_000)
def test_no_bytes_break_it(data: bytes) -> None:
    for content_type in (JSON, b"", b"multipart/form-data; boundary=b", b"multipart/form-data; boundary=", b"\xff"):
        name = read(data, content_type)
        assert name is None or name.encode()
    into, out = usage_of(data)
    assert into >= 0
    assert out >= 0


@given(fragments)
@example(b'data: {"response":{"a":"\xff"}}')
@example(b'data: {"response":{"a":' + b"[" * 100_000)
def test_no_first_event_breaks_the_last(first: bytes) -> None:
    refusal = Refusal(status=502, code="replica_failed", message="It died.")
    event = final_event(refusal, ApiForm.RESPONSES, "mg-1", first)
    assert event.startswith(b"event: response.failed\ndata: ")
    assert json.loads(event.split(b"data: ", 1)[1])["response"]["status"] == "failed"


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.text(max_size=200), st.booleans())
def test_usage_is_found_whatever_the_text_says(into: int, out: int, said: str, details: bool) -> None:
    usage: dict[str, Any] = {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out}
    if details:
        usage["prompt_tokens_details"] = {"cached_tokens": 5}
    answer = json.dumps({"choices": [{"message": {"content": said + '"usage":{"prompt_tokens":1}'}}], "usage": usage})
    assert usage_of(answer.encode()[-4096:]) == (into, out)


@pytest.mark.parametrize("field", [b"\xff", b"m" * 513])
def test_form_fields_are_bounded_text(field: bytes) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + field + b"\r\n--b--\r\n"
    assert read(form, b"multipart/form-data; boundary=b") is None
