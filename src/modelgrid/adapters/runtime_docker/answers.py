"""What an engine's answers mean. Pure, but for `host_pids`, which reads /proc."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from modelgrid.adapters.runtime_docker.logs import parse_time
from modelgrid.adapters.runtime_process import procfs
from modelgrid.domain.engine import EngineExit, EngineState, EngineStatus

_SIGNAL_BASE = 128
"""A container's exit status above this tells the signal that ended its first process (tini, and every shell)."""


def fix(words: str) -> str:
    """What usually mends the engine's complaint; the causes of failed starts are diagnosed elsewhere."""
    lower = words.lower()
    for needles, fix in _FIXES:
        if any(needle in lower for needle in needles):
            return fix
    return ""


_FIXES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("could not select device driver", "unresolvable cdi devices"), "Install the NVIDIA Container Toolkit."),
    (("port is already allocated", "address already in use"), "Free the port, or let another one be chosen."),
    (("catatonit", "docker-init", "init binary"), "Install the engine's init program (`catatonit`, `tini`)."),
    (("manifest unknown", "not found", "does not exist"), "Check the image's name and tag."),
    (("denied", "unauthorized", "authentication required"), "Log in to the registry (`docker login`)."),
    (("no space left",), "Free some space where the engine keeps its images."),
    (("connection refused", "no such host", "timeout", "server gave http"), "Check that the registry can be reached."),
)


def engine_version(version: Mapping[str, Any]) -> str:
    components: Iterable[Mapping[str, Any]] = version.get("Components") or ()
    return str(next((c["Version"] for c in components if c.get("Name") == "Podman Engine"), version.get("Version", "")))


def status(there: Mapping[str, Any] | None) -> EngineStatus:
    if there is None:
        return EngineStatus(state=EngineState.GONE)
    state = there["State"]
    started = parse_time(str(state.get("StartedAt", "")))
    if state.get("Running") or state.get("Status") in {"running", "paused", "restarting", "stopping"}:
        return EngineStatus(state=EngineState.RUNNING, started_at=started)
    code = state.get("ExitCode")
    ended = parse_time(str(state.get("FinishedAt", "")))
    never = ended is None or started is None
    return EngineStatus(
        state=EngineState.EXITED,
        started_at=started,
        exit=EngineExit(
            at=ended or started or parse_time(str(there.get("Created", ""))) or 0.0,
            code=None if never else code,
            signal=code - _SIGNAL_BASE if not never and code and _SIGNAL_BASE < code <= _SIGNAL_BASE + 64 else None,
            out_of_memory=bool(state.get("OOMKilled")),
            error=str(state.get("Error") or ("the container was never started" if never else "")),
        ),
    )


def host_pids(first: int, container_id: str) -> tuple[int, ...]:
    """Return the container's processes by the host's numbers; empty when the engine counts in another pid
    namespace (rootless in a VM, remote), where its numbers would name strangers. Blocks on /proc."""
    try:
        cgroup = Path(f"/proc/{first}/cgroup").read_text()
    except OSError:
        return ()
    if first <= 0 or container_id[:32] not in cgroup:
        return ()
    return (first, *(stat.pid for stat in procfs.descendants(first) if stat.running))
