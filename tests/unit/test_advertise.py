"""Under which address a node tells others to reach it."""

import socket
from typing import Any

import pytest

from modelgrid.config.model import Config
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
