"""How many examples the properties are tried with: 100, or 10,000 with `MODELGRID_NIGHTLY=1`."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

NIGHTLY = os.environ.get("MODELGRID_NIGHTLY") == "1"
NIGHTLY_SECONDS = 3600

# Examples are worlds of several nodes, and machines are shared: time per example says nothing here.
settings.register_profile("default", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("nightly" if NIGHTLY else "default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if NIGHTLY and here in item.path.parents:
            item.add_marker(pytest.mark.timeout(NIGHTLY_SECONDS))
