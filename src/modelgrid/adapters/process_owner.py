"""Which deployment a process of this machine belongs to, told by what its engine was started with."""

import re
from collections.abc import Callable, Mapping

_MARK = b"MODELGRID_DEPLOYMENT="
_CONTAINER = re.compile(rb"\b[0-9a-f]{64}\b")


class ProcessOwner:
    """Engines that are processes hand a mark on to their children; those in containers share its control group."""

    def __init__(self, containers: Callable[[], Mapping[str, str]]) -> None:
        """`containers` returns the deployment of each container that is known, by the container's id."""
        self._containers = containers

    def of(self, pid: int) -> str | None:
        """Return the deployment's id; `None`: it is of none, or what it is cannot be read. Blocks for two reads."""
        for found in _CONTAINER.findall(_read(pid, "cgroup")):
            if deployment := self._containers().get(found.decode()):
                return deployment
        marks = [entry for entry in _read(pid, "environ").split(b"\0") if entry.startswith(_MARK)]
        return marks[0].removeprefix(_MARK).decode(errors="replace") if marks else None


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123  hot: pathlib costs more than the read
            return file.read()
    except OSError:  # it ended, or is somebody else's
        return b""
