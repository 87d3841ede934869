"""What is installed from the wheel has its console, whoever built it from a checkout without one."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "ts_web" / "node_modules"
MADE = ("console", "compiled", "__pycache__", "node_modules", ".out")


@pytest.mark.skipif(
    not TOOLS.is_dir() and not os.environ.get("MODELGRID_CI"), reason="the console's tools are missing: make console"
)
def test_the_wheel_brings_the_console(tmp_path: Path) -> None:
    """Built from a copy, as other tests read the console of this checkout; not compiled, which takes half a minute."""
    copy = tmp_path / "checkout"
    for folder in ("src", "ts_web"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns(*MADE))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, copy)
    (copy / "ts_web" / "node_modules").symlink_to(TOOLS)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
        "--no-deps",
    ]
    done = subprocess.run(
        [*command, "--no-build-isolation", "-w", str(tmp_path), str(copy)],
        env={**os.environ, "CC": str(tmp_path / "no-compiler")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("modelgrid-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        page = archive.read("modelgrid/console/index.html").decode()
    assert any(name.startswith("modelgrid/console/assets/") and name.endswith(".js") for name in names)
    for part in page.split('"'):
        if part.startswith("/assets/"):
            assert f"modelgrid/console{part}" in names
    assert "/assets/" in page
    assert "modelgrid/adapters/catalog_packaged/catalog.json" in names
    assert not any("node_modules" in name or name.endswith(".ts") for name in names)
