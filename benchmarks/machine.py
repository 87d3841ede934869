"""What the benchmark needs of the machine: cores of their own, processes and what they cost, facts for the record."""

import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks"
KEPT = FOLDER / ".peers"
"""What was installed for the benchmark, one folder a peer. Ignored by git."""
OUT = FOLDER / "out"
"""Figures and profiles. Ignored by git."""


class Unavailable(Exception):
    """A peer or a tool that cannot be had here. The text says why."""


def say(text: str) -> None:
    """Print progress; standard output is kept for the table."""
    print(text, file=sys.stderr, flush=True)


def cores() -> tuple[int, int]:
    """Return (gateway's core, core of load and upstream): the first two this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise Unavailable("two cores are needed: one for the gateway, one for load and upstream")
    return usable[0], usable[1]


def two_cores() -> tuple[int, int]:
    """Return cores for two gateway processes: the first and the third of four or more, otherwise the first twice."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[2]) if len(usable) >= 4 else (usable[0], usable[0])


def pinned(core: int, argv: Sequence[str]) -> list[str]:
    """Return `argv` to be run on `core` alone."""
    return ["taskset", "-c", str(core), *argv]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def debian(package: str, program: str) -> str:
    """Return the path of `program`, installed from Debian's `package` when it is missing and this is root."""
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    found = shutil.which(program, path=places)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing {package} …")
        command = ["apt-get", "install", "-y", "--no-install-recommends", package]
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(command, env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        found = shutil.which(program, path=places)
    if found is None:
        raise Unavailable(f"{program} is not installed (Debian: {package})")
    return found


def from_pypi(name: str, requirement: str, program: str) -> str:
    """Return the path of `program` in an environment of its own under `.peers/`, made on first use."""
    folder = KEPT / name
    path = folder / "bin" / program
    if path.exists():
        return str(path)
    say(f"installing {requirement} …")
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, capture_output=True)
        subprocess.run([*pip, requirement], check=True, capture_output=True, text=True, timeout=600)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(folder, ignore_errors=True)
        last = (str(error.stderr or "").strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(f"{requirement} cannot be installed: {last}") from error
    except subprocess.TimeoutExpired as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise Unavailable(f"{requirement} was not installed within 600 s") from error
    if not path.exists():
        raise Unavailable(f"{requirement} brings no program '{program}'")
    return str(path)


def version_of(program: str, *arguments: str) -> str:
    """Return the first line that a program prints about itself."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "?"


def package_version(name: str, package: str) -> str:
    """Return the version of a package in the environment `name`."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return version_of(str(KEPT / name / "bin" / "python"), "-c", code)


class Tree:
    """A process with all its children (or without, on request), and what they cost."""

    def __init__(self, pid: int, *, children: bool = True) -> None:
        self._root = psutil.Process(pid)
        self._children = children

    def _processes(self) -> Iterable[psutil.Process]:
        return [self._root, *(self._root.children(recursive=True) if self._children else ())]

    def cpu_seconds(self) -> float:
        """CPU time so far, from the scheduler's own count (nanoseconds; `utime` is sampled)."""
        total = 0
        for process in self._processes():
            for thread in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
                total += int(thread.read_text().split()[0])
        return total / 1e9

    def rss_bytes(self) -> int:
        return sum(process.memory_info().rss for process in self._processes())


def facts() -> dict[str, str]:
    """Return what the figures depend on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    commit = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit.stdout.strip(),
        "cpu": f"{cpu}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def begin_table(*heads: str) -> None:
    """Print what the figures depend on, and the head of a table of numbers."""
    for name, value in facts().items():
        print(f"- {name}: {value}")
    print(f"\n| {' | '.join(heads)} |\n{'|---:' * len(heads)}|", flush=True)


def print_row(cells: Iterable[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)
