"""What is shown is text, and JSON stays JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.cli.output import ago, clean, clean_line, counted, fail, json_text, short
from modelgrid.domain.errors import NotFound

DANGEROUS = set(map(chr, [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]))


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07name", "name"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;cm0gLXJm\x07x", "x"),
        ("\x9b2Jwiped", "wiped"),
        ("\x1bPq device \x1b\\ after", " after"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("a\u2067b\u2069", "ab"),
        ("one\ntwo\tthree", "one two three"),
        ("back\b\b\bspace", "backspace"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("tag\U000e0041s", "tags"),
        ("half \ud800 one", "half  one"),
        ("\x1b", ""),
        ("नमस्ते می‌خواهم 模型", "नमस्ते می‌خواهم 模型"),
    ],
)
def test_clean(given_text, shown):
    assert clean(given_text) == shown


@given(st.text())
def test_nothing_dangerous_is_left(text):
    cleaned = clean(text)
    assert not DANGEROUS & set(cleaned)
    assert clean(cleaned) == cleaned


@given(st.text(alphabet=st.sampled_from("\x1b\x9b[]PX^_;?0m\x07\\ab\x9c\x9d")))
def test_no_sequence_survives_however_it_is_nested(text):
    assert not DANGEROUS & set(clean(text))


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_means_the_same_and_is_safe_to_show(value):
    for indent in (None, 2):
        text = json_text(value, indent)
        assert json.loads(text) == value
        assert not (DANGEROUS - {"\n"}) & set(text)


def test_of_an_overwritten_line_the_last_is_shown():
    assert clean_line("10%|█\r20%|██\r") == "20%|██"
    assert clean_line("whole") == "whole"


def test_short_cuts_on_a_terminal_only(monkeypatch):
    from modelgrid.cli import output

    assert short("x" * 10_000) == "x" * 10_000
    monkeypatch.setattr(output.console, "_force_terminal", True)
    assert len(short("x" * 10_000)) == output.LONGEST_NAME
    assert short("x" * 10_000).endswith("…")


def test_small_words():
    assert (counted(1, "model"), counted(2, "process", "processes")) == ("1 model", "2 processes")
    assert ago(None) == "—"


def test_an_error_as_json_has_the_shape_of_the_api(capsys):
    assert fail(NotFound("There is no x.", fix="See y.", near=["z"]), as_json=True) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert json.loads(said.err) == {
        "error": {"code": "not_found", "message": "There is no x.", "fix": "See y.", "details": {"near": ["z"]}}
    }
