"""Under which address a node tells others to reach it."""

import socket
from typing import Any

import pytest

from modelgrid.config.model import Config
from modelgrid.config.urls import is_private_elsewhere
from modelgrid.services.cluster import advertise


@pytest.mark.parametrize(
    ("sections", "towards", "expected"),
    [
        ({"cluster": {"advertiseUrl": "https://grid.example:8080", "host": "0.0.0.0"}}, "", "grid.example"),
        ({"cluster": {"host": "10.1.2.3"}}, "10.9.9.9", "10.1.2.3"),
        ({"api": {"host": "10.1.2.3"}}, "", "10.1.2.3"),
        ({"cluster": {"host": "0.0.0.0"}}, "127.0.0.1", "127.0.0.1"),
    ],
)
def test_as_configured_or_as_the_way_there_says(sections: dict[str, Any], towards: str, expected: str) -> None:
    assert advertise.advertised_host(Config.model_validate(sections), towards) == expected


def test_by_its_host_name_where_no_route_leads() -> None:
    """The kernel refuses a way to the broadcast address as it refuses one without a route."""
    config = Config.model_validate({"cluster": {"host": "0.0.0.0"}})
    assert advertise.advertised_host(config, "255.255.255.255") == socket.gethostname()


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, "http://127.0.0.1:8081"),
        ({"api": {"uiPort": 9443, "tls": {"certFile": "c", "keyFile": "k"}}}, "https://127.0.0.1:9443"),
        ({"api": {"uiHost": "fd00::7"}}, "http://[fd00::7]:8081"),
        (
            {"api": {"uiHost": "0.0.0.0"}, "cluster": {"advertiseUrl": "https://grid.example:8080"}},
            "http://grid.example:8081",
        ),
    ],
)
def test_where_the_console_is(sections: dict[str, Any], expected: str) -> None:
    assert advertise.console_url(Config.model_validate(sections)) == expected


def test_a_console_on_all_addresses_is_at_the_one_that_leads_to_everybody() -> None:
    config = Config.model_validate({"api": {"uiHost": "0.0.0.0"}})
    host = advertise.advertised_host(Config.model_validate({"cluster": {"host": "0.0.0.0"}}))
    assert advertise.console_url(config) == f"http://{host}:8081"


@pytest.mark.parametrize(
    ("url", "machine", "private"),
    [
        ("http://127.0.0.1:8081", "https://10.1.2.3:8082", True),
        ("http://[::1]:8081", "https://control-a:8082", True),
        ("http://127.0.0.1:8081", "https://127.0.0.1:8082", False),
        ("http://10.1.2.3:8081", "https://10.1.2.3:8082", False),
        ("", "https://10.1.2.3:8082", False),
    ],
)
def test_a_console_for_its_machine_alone_is_of_no_use_on_another(url: str, machine: str, private: bool) -> None:
    assert is_private_elsewhere(url, machine) is private
