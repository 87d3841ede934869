"""Ports of engines: given out in turn, never twice, never one that is taken."""

import socket

import pytest

from modelgrid.domain.errors import LaunchRefused
from modelgrid.services import ports
from modelgrid.services.ports import FIRST_PORT, LAST_PORT, EnginePorts


def test_two_starts_under_way_are_given_different_ports() -> None:
    given = EnginePorts(lambda: (), start=7)
    assert len({given.allocate() for _ in range(50)}) == 50, "although none of them is recorded or listened on yet"


def test_every_port_lies_in_the_range_whatever_the_start() -> None:
    for start in (0, LAST_PORT, 2**32 - 1):
        given = EnginePorts(lambda: (), start)
        assert all(FIRST_PORT <= given.allocate() <= LAST_PORT for _ in range(5))


def test_held_and_foreign_ports_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken = stranger.getsockname()[1]
        monkeypatch.setattr(ports, "FIRST_PORT", taken)
        monkeypatch.setattr(ports, "LAST_PORT", taken + 40)
        given = EnginePorts(lambda: {taken + 1}, 0)
        assert not {given.allocate() for _ in range(38)} & {taken, taken + 1}


def test_no_port_left_is_a_refusal_with_a_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "LAST_PORT", FIRST_PORT + 1)
    with pytest.raises(LaunchRefused) as refused:
        EnginePorts(lambda: {FIRST_PORT, FIRST_PORT + 1}, 0).allocate()
    assert refused.value.fix
