"""The real parts as fixtures; see `setup/engines_bed.py`."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "setup"))
sys.path.insert(0, str(HERE.parent / "integration"))

from engines_bed import EnginesInfo, set_up  # noqa: E402  (it lies beside the scripts it calls)

SETUP_SECONDS = 900
"""A cold set-up takes about four minutes on two cores, and counts towards the first test that needs it."""


@pytest.fixture(scope="session")
def container_bed() -> EnginesInfo:
    """A Docker Engine, and a registry with the Python image."""
    return set_up("docker", "registry", "image")


@pytest.fixture(scope="session")
def podman_bed() -> EnginesInfo:
    """Podman's Docker-compatible socket, and the registry with the Python image."""
    return set_up("podman", "registry", "image")


@pytest.fixture(scope="session")
def vllm_bed() -> EnginesInfo:
    """A vLLM to run as a process, and a tiny model."""
    return set_up("vllm", "model")


@pytest.fixture(scope="session")
def vllm_container_bed() -> EnginesInfo:
    """A Docker Engine, the vLLM image in its registry, and a tiny model."""
    return set_up("docker", "registry", "vllm", "vllm-image", "model")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SETUP_SECONDS))
