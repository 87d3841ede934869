"""The modules that every request goes through, as machine code: the same sources, compiled by mypyc.

    python -m modelgrid.gateway.compiled

compiles them, where there is a C compiler. `make setup` and the package's build do it where they can (see
`docs/decisions/0244-the-hot-path-is-compiled-where-it-can-be.md`). The result lies in the package, in a folder named
for the sources and for Python's version: what was made of other sources is never loaded. Without it, where it does not
load, and with `MODELGRID_PURE=1`, the sources are interpreted as any others.
"""

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

HOT = {
    "decide": ("admission", "breaker", "route", "waiting"),
    "gateway": (
        "admit", "affinity", "board", "core", "counters", "exchange", "fleet", "heads", "keys", "limits", "line",
        "peer_port", "protocol", "reader", "relay", "remote", "replica", "request", "timers", "upstream", "usage",
    ),
}  # fmt: skip
"""By package. Classes and their subclasses are compiled together or not at all. What reads bodies (`scan`, `splice`)
is not among them: it gains nothing, and compiled slices of bytes fail where they end before they begin."""
_READ = ("decide", "domain", "gateway")
"""Packages whose sources the result may depend on: constants of theirs are compiled in."""
_PACKAGE = Path(__file__).resolve().parent.parent
FOLDER = _PACKAGE / "compiled"
_HELP = "`apt-get install gcc python3-dev && make compiled` gives it about 1.8 times the requests."
PURE = "MODELGRID_PURE"
"""Environment variable: anything but an empty text keeps `use` from doing anything."""


class CannotCompile(Exception):
    """The text says why not."""


def place() -> Path:
    """Return the folder for what is made of the present sources by this Python. Reads them: some milliseconds."""
    digest = sha256(EXTENSION_SUFFIXES[0].encode())
    for package in _READ:
        for path in sorted((_PACKAGE / package).rglob("*.py")):
            digest.update(f"\0{path.relative_to(_PACKAGE)}\0".encode() + path.read_bytes())
    return FOLDER / digest.hexdigest()[:16]


def use() -> bool:
    """Load the compiled modules from now on, where they are there and can be loaded; return whether they are.

    To be called before any of them is loaded: either all are compiled or none is.
    """
    folder = place()
    if os.environ.get(PURE) or not folder.is_dir() or not _loads(folder):
        return False
    for package in HOT:
        importlib.import_module(f"modelgrid.{package}").__path__.insert(0, str(folder / "modelgrid" / package))
    return True


def _loads(folder: Path) -> bool:
    """Load the library that all of them share. A wheel may have been made on a newer machine than this."""
    sys.path.append(str(folder))
    library = next(folder.glob("*__mypyc*"), None)
    try:
        if library is not None:
            importlib.import_module(library.name.partition(".")[0])
            return True
        why = "its library is missing"
    except ImportError as error:
        why = str(error)
    sys.path.remove(str(folder))
    print(f"The compiled form of the gateway is left aside, it does not load here: {why}", file=sys.stderr)  # noqa: T201
    return False


def running() -> bool:
    """Return whether this process runs the compiled modules."""
    module = sys.modules.get("modelgrid.gateway.exchange")
    return module is not None and not str(module.__file__).endswith(".py")


def compile_all() -> Path:
    """Compile, unless it is done already; return where the result is. Takes half a minute. Raises CannotCompile."""
    folder = place()
    if folder.is_dir():
        return folder
    look_for_compiler()
    for module, lock in (
        ("mypyc", "compile"),
        ("setuptools", "compile"),
        ("msgspec", "runtime"),
        ("uvloop", "runtime"),
    ):
        if importlib.util.find_spec(module) is None:
            raise CannotCompile(f"{module} is not installed (requirements/{lock}.lock)")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=FOLDER) as name:
        build, result = Path(name) / "build", Path(name) / "result"
        shutil.copytree(_PACKAGE, build / "modelgrid", ignore=lambda path, names: _not_sources(Path(path), names))
        _run([sys.executable, "-c", _BUILD, str(result)], build)
        _run([sys.executable, "-c", _TRY, str(result)], build)
        for other in FOLDER.iterdir():
            if not other.name.startswith("."):
                shutil.rmtree(other, ignore_errors=True)  # processes that run it keep what they have loaded
        result.replace(folder)
    return folder


_BUILD = """
import sys
from mypyc.build import mypycify
from setuptools import Distribution
from modelgrid.gateway.compiled import HOT

paths = [f"modelgrid/{package}/{name}.py" for package, names in HOT.items() for name in names]
options = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports", "--cache-dir=cache"]
# More than -O1 makes nothing faster here, and takes half as long again.
distribution = Distribution({"ext_modules": mypycify([*options, *paths], opt_level="1", debug_level="0")})
command = distribution.get_command_obj("build_ext")
command.build_lib, command.build_temp = sys.argv[1], "objects"
command.ensure_finalized()
command.run()
"""
_TRY = """
import sys
from pathlib import Path
from modelgrid.gateway import compiled

compiled.place = lambda: Path(sys.argv[1])
assert compiled.use()
import modelgrid.gateway.process
assert compiled.running()
"""


def look_for_compiler() -> None:
    """Raises CannotCompile where there is no C compiler, or Python's headers are missing."""
    import sysconfig  # noqa: PLC0415 (not for gateways, which only want to know what is there)

    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        raise CannotCompile(f"there is no C compiler ({compiler}). {_HELP}")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        raise CannotCompile(f"the headers of Python are not installed ({header}). {_HELP}")


def _not_sources(folder: Path, names: list[str]) -> list[str]:
    return [name for name in names if not (name.endswith(".py") or (folder / name / "__init__.py").exists())]


def _run(argv: list[str], folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {PURE, "PYTHONPATH", "MYPYPATH"}}
    done = subprocess.run(
        argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()[-20:]
        raise CannotCompile("\n".join(["it failed:", *said]))


def main(argv: Sequence[str]) -> int:
    """Compile (`--possible`: only see whether that can be done); when it cannot be, say why, and return 1."""
    try:
        if "--possible" in argv:
            look_for_compiler()
        else:
            if not place().is_dir():
                print("Compiling the gateway …", flush=True)  # noqa: T201
            compile_all()
    except CannotCompile as reason:
        print(f"The gateway runs interpreted: {reason}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
