"""Paths, processes and messages shared by the parts of the test bed."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[4]
DEBIAN_PACKAGES_WAIT = 300
"""Seconds to wait for another package installation on this machine to end."""


class Missing(Exception):
    """Something this machine does not have and the test bed cannot get. Tests that need it are skipped."""


def engines_dir() -> Path:
    """Return the folder that holds all the test bed makes (`$MODELGRID_ENGINES_DIR`, else `.engines`)."""
    return Path(os.environ.get("MODELGRID_ENGINES_DIR") or REPOSITORY / ".engines").resolve()


def say(text: str) -> None:
    """Print progress. Standard output is kept for the answer."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Print what is being done and how long it took."""
    say(f"• {name} …")
    began = time.monotonic()
    yield
    say(f"  {name}: {time.monotonic() - began:.1f} s")


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Let one set-up run at a time in `folder`; the others wait. Released by the kernel when the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(argv: Sequence[str | Path], *, why: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a command to its end and return its output (both streams).

    Raises `RuntimeError` with `why` and the last lines of the output when it fails."""
    words = [str(word) for word in argv]
    done = subprocess.run(
        words,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(env or {})},
        cwd=cwd,
    )
    text = done.stdout.decode(errors="replace")
    if done.returncode:
        raise RuntimeError(f"{why}: `{' '.join(words[:6])}` ended with {done.returncode}\n{last_lines(text)}")
    return text


def last_lines(text: str, count: int = 15) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-count:])


def wait_for(condition: Callable[[], bool], seconds: float, alive: Callable[[], bool] = lambda: True) -> bool:
    """Return whether `condition` came true within `seconds`; give up early when `alive` turns false."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline or not alive():
            return condition()
        time.sleep(0.1)
    return True


def port_is_taken(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, int(port))) == 0


def debian_packages(programs: Mapping[str, str]) -> None:
    """Install the Debian packages of those `programs` (program → package) that are not there.

    Raises `Missing` when this is not Debian, not root, or the packages cannot be had."""
    packages = sorted({package for program, package in programs.items() if not find_program(program)})
    if not packages:
        return
    require_apt(" ".join(packages))
    with step(f"apt-get install {' '.join(packages)}"):
        install = ["install", "-y", "--no-install-recommends", *packages]
        try:
            apt(install, why="Debian packages")
        except RuntimeError:  # most often: no package lists yet, or old ones
            try:
                apt(["update"], why="Debian package lists")
                apt(install, why="Debian packages")
            except RuntimeError as error:
                raise Missing(f"the Debian packages {' '.join(packages)} cannot be installed: {error}") from error


def apt(arguments: Sequence[str], *, why: str, cwd: Path | None = None) -> str:
    options = ["-q", "-o", f"DPkg::Lock::Timeout={DEBIAN_PACKAGES_WAIT}"]
    return run(["apt-get", *options, *arguments], why=why, env={"DEBIAN_FRONTEND": "noninteractive"}, cwd=cwd)


def require_apt(what: str) -> None:
    """Raise `Missing` unless packages can be installed by this user on this system."""
    if not shutil.which("apt-get"):
        raise Missing(f"{what} is not installed, and this is no Debian: install it by hand")
    if os.geteuid() != 0:
        raise Missing(f"{what} is not installed, and only root can: apt-get install {what}")


def find_program(name: str) -> str | None:
    """Like `shutil.which`, also looking where Debian keeps programs for root."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin")


class Daemon:
    """A program in the background that outlives this one. Known again by pid and start time, so that `stop` never
    ends a stranger that was given the same pid."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._record = folder / f"{name}.pid.json"
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        with self.log.open("wb") as log:
            child = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(env or {})},
                cwd="/",
            )
        self._record.write_text(json.dumps({"pid": child.pid, "started": _start_time(child.pid)}))
        self._child = child

    def alive(self) -> bool:
        child: subprocess.Popen[bytes] | None = getattr(self, "_child", None)
        if child is not None:
            return child.poll() is None
        return self._pid() is not None

    def stop(self, seconds: float = 30) -> bool:
        """Ask it to end, kill it after `seconds`. Returns whether it ran."""
        pid = self._pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            if not wait_for(lambda: self._pid() is None, seconds):
                os.kill(pid, signal.SIGKILL)
        self._record.unlink(missing_ok=True)
        return pid is not None

    def problem(self) -> str:
        """Return the end of its log."""
        return last_lines(self.log.read_text(errors="replace")) if self.log.exists() else ""

    def _pid(self) -> int | None:
        try:
            record = json.loads(self._record.read_text())
        except FileNotFoundError:
            return None
        pid: int = record["pid"]
        return pid if record["started"] is not None and _start_time(pid) == record["started"] else None


def _start_time(pid: int) -> int | None:
    """Clock ticks since boot at which `pid` began; `None` when it does not run (a zombie does not)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])
