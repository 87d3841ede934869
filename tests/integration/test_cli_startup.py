"""The command line starts quickly because it loads little. Seconds vary with the machine; what is loaded does not."""

import json
import os
import subprocess
import sys

import pytest
from cli_kit import FakeApi

LOADED = """
import json, sys
from modelgrid.cli.main import run
code = run(json.loads(sys.argv[1]))
sys.stderr.write(json.dumps([code, sorted(sys.modules)]))
"""


def loaded(*arguments: str, environment=None) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, json.dumps(arguments)],
        capture_output=True, text=True, check=True, env=environment, timeout=60,
    )  # fmt: skip
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0
    return set(modules)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_version_and_help_load_next_to_nothing(arguments):
    modules = loaded(*arguments)
    heavy = {"rich", "httpx", "pydantic", "asyncio", "ssl", "msgspec", "fastapi", "sqlalchemy", "uvicorn"}
    assert heavy & modules == set()


def test_ps_loads_what_it_shows_and_asks_with(tmp_path):
    with FakeApi({"GET /deployments": {"items": [], "next_after": None}}).place(tmp_path) as place:
        modules = loaded("ps", environment=place.environment())
    heavy = {
        "modelgrid.config.model",
        "fastapi",
        "sqlalchemy",
        "uvicorn",
        "structlog",
        "modelgrid.cli.config",
    }
    assert heavy & modules == set()
    assert "httpx" in modules


SHELL_AS_NAMED = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
"""typer takes the shell that it runs in, which need not be one that a person uses."""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell):
    done = subprocess.run(
        [sys.executable, "-m", "modelgrid.cli", "--show-completion", shell],
        capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **SHELL_AS_NAMED},
    )  # fmt: skip
    assert done.returncode == 0
    assert "_MODELGRID_COMPLETE" in done.stdout


def test_completion_can_be_installed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "modelgrid.cli", "--install-completion", "bash"],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, **SHELL_AS_NAMED, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0
    assert "modelgrid" in (tmp_path / ".bashrc").read_text()
