"""The record of an engine, read back: which processes it is and whether they are there."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelgrid.adapters.runtime_process import files, procfs
from modelgrid.domain.engine import EngineExit, EngineRef, EngineState, EngineStatus
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.target import RuntimeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """What `<deployment>.json` says. `pid` leads the engine's group; the watcher is its parent."""

    owner: str
    kind: RuntimeKind
    deployment: DeploymentId
    attempt: int
    url: str
    pid: int
    start: int
    watcher_pid: int
    watcher_start: int
    boot_id: str
    started_at: float

    @property
    def ref(self) -> EngineRef:
        return EngineRef(
            runtime=self.kind,
            id=f"{self.pid}:{self.start}",
            deployment=self.deployment,
            attempt=self.attempt,
            url=self.url,
        )

    def watched(self) -> bool:
        """Return whether its watcher lives, and with it the engine or its ending. Blocks (one read of /proc)."""
        return self.boot_id == procfs.boot_id() and procfs.alive(self.watcher_pid, self.watcher_start)

    def unwatched(self) -> bool:
        """Return whether the engine runs without its watcher, which the kernel prevents but for rare cases
        (its program gained privileges with exec). Blocks."""
        return self.boot_id == procfs.boot_id() and procfs.alive(self.pid, self.start)


def parse(value: dict[str, Any] | None) -> EngineRecord | None:
    """Return the record, or `None` when the file is missing or was damaged by other hands."""
    if value is None:
        return None
    with contextlib.suppress(TypeError, ValueError, KeyError):
        return EngineRecord(**{**value, "kind": RuntimeKind(value["kind"])})
    return None


def read(folder: Path, deployment: str) -> EngineRecord | None:
    """Blocks on the disk."""
    return parse(files.read_json(files.record_path(str(folder), deployment)))


def read_all(folder: Path) -> list[EngineRecord]:
    """Blocks on the disk. Sorted by deployment."""
    found = (parse(files.read_json(str(path))) for path in sorted(folder.glob("*.json")))
    return [record for record in found if record is not None]


def status(folder: Path, record: EngineRecord) -> EngineStatus:
    """Return what is known of a recorded engine. Blocks on /proc and the disk."""
    if record.watched() or record.unwatched():
        return EngineStatus(state=EngineState.RUNNING, started_at=record.started_at)
    return EngineStatus(state=EngineState.EXITED, started_at=record.started_at, exit=_ended(folder, record))


def _ended(folder: Path, record: EngineRecord) -> EngineExit:
    path = files.exit_path(str(folder), record.deployment, record.attempt)
    if (report := files.read_json(path)) is not None:
        return EngineExit(
            at=report["at"],
            code=report["code"],
            signal=report["signal"],
            out_of_memory=report["out_of_memory"],
            error=report["error"],
        )
    if record.boot_id != procfs.boot_id():
        return EngineExit(at=procfs.boot_time(), error="the host was restarted")
    # No one saw the end; the last line of its log is the best witness of the time.
    log = Path(files.log_path(str(folder), record.deployment, record.attempt))
    at = log.stat().st_mtime if log.exists() else record.started_at
    return EngineExit(at=at, error="the engine's watcher was killed, and the engine with it")
