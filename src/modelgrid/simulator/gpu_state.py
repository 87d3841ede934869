"""What simulated engines claim to hold on simulated GPUs: one small JSON file per process.

An engine writes `<pid>.json`; the probe sums the files of processes that are still the same process. A file
`foreign-<name>.json` stands for memory that somebody else holds, and lives until it is removed.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Memory and load of one process."""

    pid: int
    start_ticks: int | None
    """Start time in clock ticks since boot; with the pid the identity of a process. `None`: not checked."""
    name: str
    bytes_by_gpu: dict[str, int]
    utilization: float = 0.0
    """Percent, of each of its GPUs."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Claim)


def start_ticks(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot; `None` when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold anything; the fields after it are numbered from 3 (proc(5)).
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else int(rest[18])


def write_claim(folder: str | Path, claim: Claim) -> Path:
    """Publish `claim`, replacing what the process published before. Blocks for one small write."""
    return _write(Path(folder), f"{claim.pid}.json", claim)


def write_foreign(folder: str | Path, name: str, bytes_by_gpu: Mapping[str, int], *, utilization: float = 0.0) -> Path:
    """Pretend that another program holds memory. Return the file; removing it frees the memory."""
    claim = Claim(pid=0, start_ticks=None, name=name, bytes_by_gpu=dict(bytes_by_gpu), utilization=utilization)
    return _write(Path(folder), f"foreign-{name}.json", claim)


def remove_claim(folder: str | Path, pid: int) -> None:
    """Withdraw what `pid` published. Nothing happens when there is nothing."""
    (Path(folder) / f"{pid}.json").unlink(missing_ok=True)


def read_claims(folder: str | Path) -> tuple[Claim, ...]:
    """Return the claims of live processes, by pid, and delete the files of dead ones."""
    claims: list[Claim] = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            claim = _decoder.decode(path.read_bytes())
        except FileNotFoundError:  # withdrawn while we looked
            continue
        except msgspec.DecodeError:  # not one of ours: files are only ever renamed into place whole
            continue
        if claim.start_ticks is None or start_ticks(claim.pid) == claim.start_ticks:
            claims.append(claim)
        else:
            path.unlink(missing_ok=True)
    return tuple(sorted(claims, key=lambda claim: claim.pid))


def _write(folder: Path, name: str, claim: Claim) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{name}.{os.getpid()}"
    temporary.write_bytes(_encoder.encode(claim))
    return temporary.replace(folder / name)
