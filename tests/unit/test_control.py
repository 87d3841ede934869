"""How the control process is loaded."""

import subprocess
import sys

LOADED = """
import gc, sys
from modelgrid import control
sys.argv = ["control", "--help"]
try:
    control.main()
except SystemExit:
    from fastapi.openapi.models import OpenAPI
    from modelgrid.api.targets import TargetBody, TargetView
    from modelgrid.decide import diagnose
    made = [m.__name__ for m in (OpenAPI, TargetBody, TargetView) if m.__pydantic_complete__]
    print("made:", *made, diagnose._compiled.cache_info().currsize)
    print("loaded:", gc.isenabled(), *(name for name, module in sys.modules.items() if module is not None))
"""


def _what_is_loaded() -> str:
    return subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True).stdout


def test_control_loads_nothing_large_before_it_is_needed() -> None:
    """Each of these takes megabytes, and time at every start."""
    said = _what_is_loaded()
    enabled, *modules = said.partition("loaded: ")[2].split()
    assert enabled == "True"
    assert "modelgrid.daemon" in modules
    assert "fastapi" in modules
    large = {"rich", "pygments", "pydantic.v1", "alembic", "mako", "cryptography", "argon2", "aiodocker", "aiohttp"}
    large |= {"typer", "psycopg", "pynvml", "modelgrid.cli"}
    assert large.isdisjoint(modules)


def test_control_makes_validators_and_patterns_of_failures_when_they_are_used() -> None:
    """Making all of them at once took an eighth of the start."""
    assert "made: 0\n" in _what_is_loaded()
