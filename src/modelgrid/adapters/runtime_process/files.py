"""What lies in the runtime's folder, by deployment, and how it is written. Shared by daemon and watcher.

| file | holds | written by |
|---|---|---|
| `<deployment>.json` | the record: which processes are the engine | watcher, before the engine's program runs |
| `<deployment>.lock` | nothing; locked (flock) as long as the watcher lives | watcher |
| `<deployment>.<attempt>.exit` | blanks, then how the engine ended | watcher, reserved first, filled as its last act |
| `<deployment>.<attempt>.log`, `.log.1`, `.log.2` | its output, newest file first | watcher |

Deployment ids hold no dot, so the names cannot clash.
"""

# pathlib alone would cost the watcher about a megabyte, hence os and open.
# ruff: noqa: PTH104, PTH108, PTH120, PTH123
import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

LOG_FILES = 3
"""The current log and two older ones."""
REPORT_BYTES = 512


def record_path(folder: str, deployment: str) -> str:
    return f"{folder}/{deployment}.json"


def lock_path(folder: str, deployment: str) -> str:
    return f"{folder}/{deployment}.lock"


def exit_path(folder: str, deployment: str, attempt: int) -> str:
    return f"{folder}/{deployment}.{attempt}.exit"


def log_path(folder: str, deployment: str, attempt: int) -> str:
    return f"{folder}/{deployment}.{attempt}.log"


def log_paths(current: str) -> list[str]:
    """Return the files of one log, oldest first."""
    return [f"{current}.{number}" for number in range(LOG_FILES - 1, 0, -1)] + [current]


def write_durably(path: str, value: Mapping[str, Any]) -> None:
    """Replace `path` by `value` as JSON. After a crash the old or the new content is there, never a part."""
    temporary = f"{path}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, json.dumps(value).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def reserve(path: str) -> None:
    """Take the room for a report that `fill` writes later, so that a disk which is full by then does not matter."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, b" " * REPORT_BYTES)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fill(path: str, value: Mapping[str, Any]) -> None:
    """Write `value` over the reserved room of `path`; what does not fit is an error of the caller."""
    data = json.dumps(value).encode().ljust(REPORT_BYTES)
    if len(data) > REPORT_BYTES:
        raise ValueError("the report is longer than the room that was reserved for it")
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, data, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: str) -> dict[str, Any] | None:
    """Return the object in `path`; `None` when the file is missing or does not hold one."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None
