"""Which versions work together, and what a person is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.decide.version_skew import skew

number = st.integers(0, 999)


@pytest.mark.parametrize(
    ("control", "node"),
    [
        ("1.4.0", "1.4.0"),
        ("1.4.0", "1.4.9"),
        ("1.4.2", "v1.4.2"),
        ("1.4", "1.4.1rc2"),
        ("1.4.0.dev3+g12ab", "1.4.0"),
        ("0.1.0", "0.1.5"),
    ],
)
def test_the_same_minor_version_has_nothing_to_say(control: str, node: str) -> None:
    assert skew(control, node) == (True, "")


@pytest.mark.parametrize(
    ("control", "node", "upgrade"),
    [
        ("1.4.0", "1.3.7", "Upgrade the node."),
        ("1.4.0", "1.5.0", "Upgrade the control plane."),
        ("1.9.0", "1.10.0", "Upgrade the control plane."),
    ],
)
def test_one_minor_version_apart_works_and_is_said(control: str, node: str, upgrade: str) -> None:
    ok, note = skew(control, node)
    assert ok
    assert "one minor version apart works" in note
    assert note.endswith(upgrade)


@pytest.mark.parametrize(
    ("control", "node", "why", "upgrade"),
    [
        ("1.4.0", "1.2.0", "2 minor versions apart", "Upgrade the node."),
        ("1.4.0", "1.6.1", "2 minor versions apart", "Upgrade the control plane."),
        ("1.4.0", "2.4.0", "different major versions", "Upgrade the control plane."),
        ("1.9.0", "2.0.0", "different major versions", "Upgrade the control plane."),
        ("2.0.0", "1.9.0", "different major versions", "Upgrade the node."),
    ],
)
def test_more_is_refused_with_the_reason_and_what_to_do(control: str, node: str, why: str, upgrade: str) -> None:
    ok, note = skew(control, node)
    assert not ok
    assert why in note
    assert note.endswith(upgrade)


@pytest.mark.parametrize("odd", ["", "newest", "1", "one.two", "1.x", "-1.2", " 1.2", "1." + "9" * 5000])
def test_what_is_no_version_is_refused(odd: str) -> None:
    ok, note = skew("1.4.0", odd)
    assert not ok
    assert "The node names" in note
    assert "on the node" in note
    assert len(note) < 200
    ok, note = skew(odd, "1.4.0")
    assert not ok
    assert "on the control plane" in note


@given(number, number, number, number)
def test_who_is_which_does_not_matter_for_the_answer(
    major: int, minor: int, other_major: int, other_minor: int
) -> None:
    one, other = f"{major}.{minor}.0", f"{other_major}.{other_minor}.0"
    assert skew(one, other).ok == skew(other, one).ok
    assert skew(one, other).ok == (major == other_major and abs(minor - other_minor) <= 1)
