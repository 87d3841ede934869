"""Usage is asked for by changing one field of the body and no other byte of it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from modelgrid.gateway.scan import fields_of
from modelgrid.gateway.splice import ask_for_usage, with_field

JSON = b"application/json"

names = st.sampled_from(["stream_options", "include_usage", "stream", "x", 'a"b', "a\\", "}", "é"]) | st.text(
    max_size=6
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=12)
    | st.sampled_from(['"stream_options":{}}', "\\", '\\"', "}{][,:"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
options = st.none() | st.fixed_dictionaries(
    {}, optional={"include_usage": st.sampled_from([None, False, True]),
                  "continuous_usage_stats": st.sampled_from([None, False, True]), "other": values},
)  # fmt: skip
space = st.text(alphabet=" \t\r\n", max_size=3)


@st.composite
def objects(draw: st.DrawFn, members: list[tuple[str, Any]]) -> bytes:
    """The members as JSON text, with white space anywhere and any character of a key escaped or not."""

    def key(name: str) -> str:
        if draw(st.booleans()):
            return json.dumps(name)
        return '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else json.dumps(c)[1:-1] for c in name) + '"'

    text = ",".join(
        f"{draw(space)}{key(name)}{draw(space)}:{draw(space)}"
        f"{json.dumps(value, indent=draw(st.sampled_from([None, 1])), ensure_ascii=draw(st.booleans()))}{draw(space)}"
        for name, value in members
    )
    return f"{draw(space)}{{{text}}}{draw(space)}".encode("utf-8", "surrogatepass")


plain_text = st.lists(st.tuples(names, values), max_size=5)


@given(st.data(), plain_text, names, values)
def test_setting_a_field_changes_that_field_only(
    data: st.DataObject, members: list[tuple[str, Any]], name: str, value: Any
) -> None:
    text = data.draw(objects(members))
    wanted = json.loads(text) | {name: value}
    if not name.isascii() or any(c in '"\\' or c < " " for c in name):
        return  # the gateway sets fields of its own choice
    assert json.loads(with_field(text, name, json.dumps(value).encode())) == wanted


@given(st.data(), plain_text, st.lists(options, max_size=2), st.integers(0, 5))
def test_usage_is_asked_for_where_the_client_did_not_ask(
    data: st.DataObject, others: list[tuple[str, Any]], given: list[Any], at: int
) -> None:
    members = [(name, value) for name, value in others if name not in {"stream_options", "stream", "model"}]
    members[at:at] = [("stream_options", option) for option in given]  # several times: the last one counts
    body = data.draw(objects([("model", "m"), *members, ("stream", True)]))
    before = json.loads(body)
    asking = ask_for_usage(body, fields_of(body, JSON))
    own = before.get("stream_options") or {}
    if own.get("include_usage"):
        assert asking is None
        return
    assert asking is not None
    after = json.loads(asking)
    assert after["stream_options"].pop("include_usage") is True
    if own.get("continuous_usage_stats"):
        assert after["stream_options"].pop("continuous_usage_stats") is False
        own.pop("continuous_usage_stats")
    own.pop("include_usage", None)
    assert after["stream_options"] == own
    assert {k: v for k, v in after.items() if k != "stream_options"} == {
        k: v for k, v in before.items() if k != "stream_options"
    }


def test_what_is_no_stream_or_not_understood_goes_as_it_is() -> None:
    for body in (
        b'{"model":"m"}', b'{"model":"m","stream":false}', b'{"model":"m","stream":"true"}',
        b'{"model":"m","stream":1}',
        b'{"model":"m","stream":true,"stream_options":5}', b'{"model":"m","stream":true,"stream_options":[]}',
        b'{"model":"m","stream":true,"stream_options":{"include_usage":"yes"}}',
        b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
    ):  # fmt: skip
        assert ask_for_usage(body, fields_of(body, JSON)) is None


def test_not_a_byte_more_than_needed() -> None:
    body = b'{ "model" : "m", "stream":true }\n'
    assert ask_for_usage(body, fields_of(body, JSON)) == (
        b'{ "model" : "m", "stream":true ,"stream_options":{"include_usage":true}}\n'
    )


def test_a_name_that_is_not_utf_8_is_not_ours_and_passes() -> None:
    """Engines refuse such a body, and say so; here it must not raise."""
    for name in (b'"\xff"', b'"\xff\\n"', b'"stre\\u0061m_options\xff"'):
        body = b'{"model":"m","stream":true,%b:1}' % name
        asking = ask_for_usage(body, fields_of(body, b""))
        assert asking == body[:-1] + b',"stream_options":{"include_usage":true}}'
    escaped = b'{"model":"m","stream":true,"stre\\u0061m_options":{}}'
    asking = ask_for_usage(escaped, fields_of(escaped, b""))
    assert asking == b'{"model":"m","stream":true,"stre\\u0061m_options":{"include_usage":true}}'
