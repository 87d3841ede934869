"""What nodes of one cluster tell each other is understood one minor version apart, in both directions (row R31): by the
messages that each version recorded, and by what each version has to be told."""

import json
from typing import Any

import msgspec
import pytest
from wire_messages import (
    FOLDER,
    MESSAGES,
    MINOR,
    SCHEMA,
    as_json,
    full,
    least,
    misunderstandings,
    recorded,
    schemas,
    sent,
)

from modelgrid import __version__
from modelgrid.decide.version_skew import skew

TOGETHER = sorted(found.name for found in FOLDER.iterdir() if skew(__version__, f"{found.name}.0").ok)
"""Minor versions that may be in one cluster with this one, itself included."""
WRITE = "a member of a message was changed: give a new one a default, then `python tests/contract/wire_messages.py`"


def decoded(name: str, message: Any) -> Any:
    return msgspec.json.decode(json.dumps(message), type=MESSAGES[name])


def test_this_version_is_recorded_and_the_one_before_it_too() -> None:
    major, minor = map(int, MINOR.split("."))
    released = [f"{major}.{earlier}" for earlier in range(1, minor + 1)]  # 0.1 is the first
    assert released[-2:] == TOGETHER


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_sent_is_what_was_recorded(name: str) -> None:
    assert sent(name) == recorded(MINOR, name), WRITE


def test_what_has_to_be_said_is_what_was_recorded() -> None:
    assert schemas() == recorded(MINOR, SCHEMA), WRITE


@pytest.mark.parametrize("minor", TOGETHER)
@pytest.mark.parametrize("name", MESSAGES)
def test_what_another_minor_version_recorded_is_read(minor: str, name: str) -> None:
    """With all that is known of it here."""
    message = recorded(minor, name)
    again = json.loads(msgspec.json.encode(decoded(name, message)))
    assert {member: again[member] for member in message.keys() & again.keys()} == message


@pytest.mark.parametrize("minor", TOGETHER)
def test_each_understands_the_other(minor: str) -> None:
    there, here = recorded(minor, SCHEMA), schemas()
    assert misunderstandings(there, here) == []
    assert misunderstandings(here, there) == []


@pytest.mark.parametrize("name", MESSAGES)
def test_members_of_a_newer_minor_version_are_left_aside(name: str) -> None:
    further = {"of_a_newer_minor": {"key": [1, None, "text"]}, "_": None}
    message = as_json(full(MESSAGES[name]), further=further)
    assert json.dumps(message).count("of_a_newer_minor") >= 1
    assert decoded(name, message) == full(MESSAGES[name])


@pytest.mark.parametrize("name", MESSAGES)
def test_members_that_an_older_minor_version_does_not_know_have_defaults(name: str) -> None:
    whole = full(MESSAGES[name])
    assert decoded(name, as_json(least(MESSAGES[name]), only_needed=True)) == least(MESSAGES[name])
    decoded(name, as_json(whole, only_needed=True))
    objects = json.loads(json.dumps(as_json(whole)))
    for member in objects.keys() - as_json(whole, only_needed=True).keys():
        without = {key: value for key, value in objects.items() if key != member}
        assert getattr(decoded(name, without), member) == getattr(least(MESSAGES[name]), member)


def test_it_notices_what_would_not_be_understood() -> None:
    here = schemas()

    def other(kind: str, **changes: Any) -> dict[str, Any]:
        return {**here, kind: {**here[kind], **changes}}

    needs = other("Report", required=[*here["Report"]["required"], "mood"])
    assert misunderstandings(here, needs) == ["Report.mood is needed and not said"]
    assert misunderstandings(needs, here) == []
    knows = other("Intent", enum=[*here["Intent"]["enum"], "dream"])
    assert misunderstandings(knows, here) == ["Intent: 'dream' is not known"]
    assert misunderstandings(here, knows) == []
    counts = other("Orders", properties={**here["Orders"]["properties"], "sequence": {"type": "string"}})
    assert misunderstandings(counts, here) == ["Orders.sequence is of another type"]
