"""The container engines: Docker Engine, and Podman with its Docker-compatible socket."""

import http.client
import json
import os
import resource
import socket
from pathlib import Path
from typing import Any

from testbed.common import Daemon, Missing, debian_packages, engines_dir, find_program, say, step, wait_for

PODMAN_INITS = ("/usr/libexec/podman/catatonit", "/usr/bin/catatonit", "/usr/local/libexec/podman/catatonit")
"""Where Podman looks for the init of a container; Debian only recommends the package."""
PODMAN_SOCKET = Path(os.environ.get("MODELGRID_TEST_PODMAN_SOCKET") or "/run/podman/podman.sock")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def docker_socket() -> Path:
    """Return the socket of the Docker Engine (`$DOCKER_HOST` when it is a socket, else the usual one)."""
    named = os.environ.get("MODELGRID_TEST_DOCKER_SOCKET")
    host = os.environ.get("DOCKER_HOST", "")
    return Path(named or (host.removeprefix("unix://") if host.startswith("unix://") else "/var/run/docker.sock"))


def engine_version(path: Path) -> dict[str, Any] | None:
    """Return what `GET /version` says at a container engine's socket; `None` when nothing answers."""
    connection = _UnixConnection(path, timeout=10)
    try:
        connection.request("GET", "/version")
        version: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    else:
        return version
    finally:
        connection.close()


def start_docker() -> None:
    """Make a Docker Engine answer: the one that runs, the system's own service, or a `dockerd` of ours."""
    path = docker_socket()
    if engine_version(path):
        return
    if os.geteuid() != 0:
        raise Missing(f"no Docker Engine answers at {path}, and only root can start one")
    debian_packages({"dockerd": "docker.io", "iptables": "iptables"})
    if Path("/run/systemd/system").exists() and wait_for(lambda: engine_version(path) is not None, 15):
        return
    with step(f"dockerd at {path}"):
        daemon = Daemon("dockerd", engines_dir() / "run")
        path.parent.mkdir(parents=True, exist_ok=True)
        daemon.start([find_program("dockerd") or "dockerd", "--host", f"unix://{path}"])
        if not wait_for(lambda: engine_version(path) is not None, 60, daemon.alive):
            daemon.stop()
            raise Missing(f"dockerd does not start on this machine:\n{daemon.problem()}")


def start_podman(registry: str) -> None:
    """Make Podman answer at its Docker-compatible socket; it may pull from `registry` without TLS.

    Podman asks for more open files and processes than a confined root may grant, and `crun` refuses machines with
    both cgroup hierarchies; the configuration written here takes the present bounds, and `runc` where there is one."""
    answers = engine_version(PODMAN_SOCKET) is not None
    if answers and any(Path(path).exists() for path in PODMAN_INITS):
        return
    if os.geteuid() != 0:
        raise Missing(f"no Podman with an init answers at {PODMAN_SOCKET}, and the test bed starts it as root only")
    debian_packages({"podman": "podman", "catatonit": "catatonit"})
    if answers:
        return
    folder = engines_dir() / "podman"
    folder.mkdir(parents=True, exist_ok=True)
    files = _hard_limit(resource.RLIMIT_NOFILE, 1_048_576)
    # Podman lowers its own bound to this before it starts containers, so a higher one cannot be granted any more.
    processes = min(_hard_limit(resource.RLIMIT_NPROC, 4_194_304), int(Path("/proc/sys/kernel/pid_max").read_text()))
    containers = f'[containers]\ndefault_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]\n'
    containers += '[engine]\ncgroup_manager = "cgroupfs"\n'
    if find_program("runc"):
        containers += 'runtime = "runc"\n'
    (folder / "containers.conf").write_text(containers)
    (folder / "registries.conf").write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
    with step(f"podman system service at {PODMAN_SOCKET}"):
        daemon = Daemon("podman", engines_dir() / "run")
        PODMAN_SOCKET.parent.mkdir(parents=True, exist_ok=True)
        daemon.start(
            [find_program("podman") or "podman", "system", "service", "--time=0", f"unix://{PODMAN_SOCKET}"],
            env={
                "CONTAINERS_CONF": str(folder / "containers.conf"),
                "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
            },
        )
        if not wait_for(lambda: engine_version(PODMAN_SOCKET) is not None, 30, daemon.alive):
            daemon.stop()
            raise Missing(f"the Podman service does not start on this machine:\n{daemon.problem()}")


def stop() -> None:
    """Stop the engines that were started here. Docker's containers end with it."""
    for name in ("podman", "dockerd"):
        if Daemon(name, engines_dir() / "run").stop():
            say(f"stopped {name}")


def _hard_limit(which: int, most: int) -> int:
    hard = resource.getrlimit(which)[1]
    return most if hard == resource.RLIM_INFINITY else min(hard, most)
