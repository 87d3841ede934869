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
    print("loaded:", gc.isenabled(), *(name for name, module in sys.modules.items() if module is not None))
"""


def test_control_loads_nothing_large_before_it_is_needed() -> None:
    """Each of these takes megabytes, and time at every start."""
    said = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True).stdout
    enabled, *modules = said.partition("loaded: ")[2].split()
    assert enabled == "True"
    assert "modelgrid.daemon" in modules
    assert "fastapi" in modules
    large = {"rich", "pygments", "pydantic.v1", "alembic", "mako", "cryptography", "argon2", "aiodocker", "aiohttp"}
    large |= {"typer", "psycopg", "pynvml", "modelgrid.cli"}
    assert large.isdisjoint(modules)
