"""For the whole tree: `pytest -m engines` sets the test bed up once, before the first of its tests."""

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import certifi
import pytest
from hypothesis import HealthCheck, settings
from tests.daemon_logs import unexpected_exceptions

from modelgrid.gateway import compiled

if os.environ.get("MODELGRID_TEST_COMPILED"):  # see tests/integration/test_gateway_forms.py
    assert compiled.use(), "`make compiled` first"

# Machines are shared: how long an example takes says nothing about the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

_make_context = ssl.create_default_context


@cache
def _public_authorities() -> ssl.SSLContext:
    return _make_context(cafile=certifi.where())


def _context(*args: Any, **options: Any) -> ssl.SSLContext:
    """httpx reads all public authorities for every client and every call without one, though plain HTTP needs none:
    37 ms of work, which a test that waits for a state does over and over. Here they are read once."""
    return _public_authorities() if options == {"cafile": certifi.where()} else _make_context(*args, **options)


ssl.create_default_context = _context

ENGINE_TESTS = Path(__file__).parent / "engines"
SETUP = ENGINE_TESTS / "setup" / "engines.py"
CONTAINER_PARTS = ("docker", "registry", "image", "podman")
VLLM_PARTS = ("vllm", "model", "vllm-image")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Cold it takes minutes, which then are no test's time, and it says how far it is. A part that cannot be had does
    not keep the others away; the tests that need it say what is missing."""
    config = session.config
    if config.option.markexpr != "engines" or config.option.collectonly or hasattr(config, "workerinput"):
        return
    chosen = [item for item in session.items if item.get_closest_marker("engines")]
    parts = CONTAINER_PARTS if chosen else ()
    if any(item.path.is_relative_to(ENGINE_TESTS) for item in chosen):
        parts += VLLM_PARTS
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        for part in parts:
            subprocess.run([sys.executable, SETUP, part], check=False, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="session", autouse=True)
def _no_daemon_raised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever a client sends and whatever goes wrong around a daemon: no supervisor, control process or gateway that
    any test started has logged an exception that this test does not name."""
    yield
    raised = unexpected_exceptions(tmp_path_factory.getbasetemp())
    assert raised == [], "\n".join(raised)
