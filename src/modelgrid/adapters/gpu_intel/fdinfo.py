"""Memory per process and device from DRM's fdinfo (kernel: Documentation/gpu/drm-usage-stats.rst)."""

import re
from pathlib import Path

from modelgrid.adapters.pci.host import read_text

_LOCAL_REGION = re.compile(r"^drm-(resident|memory)-(?:local|vram)\d*:\s*(\d+)\s*(KiB|MiB)?\s*$")
"""i915 calls its regions `local0`, xe `vram0`. Old kernels say `drm-memory-`, newer `drm-resident-`."""
_UNITS = {None: 1, "": 1, "KiB": 1024, "MiB": 1024**2}


def vram_by_process(root: Path = Path("/")) -> dict[str, dict[int, int]] | None:
    """Return bytes of card memory by PCI address and pid, or None when no process says (kernels before 6.8).

    Looks at every process that has a /dev/dri file open; other users' processes are seen by root alone.
    A file shared between processes or opened twice is one client and counted once, for the lowest pid.
    """
    found: dict[str, dict[int, int]] = {}
    clients: set[tuple[str, str]] = set()
    reported = False
    for folder in sorted((root / "proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        for text in _drm_files(folder):
            fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
            address = fields.get("drm-pdev", "").strip().lower()
            client = (address, fields.get("drm-client-id", "").strip())
            if not address or client in clients:
                continue
            size = _local_bytes(text)
            if size is None:
                continue
            clients.add(client)
            reported = True
            held = found.setdefault(address, {})
            held[int(folder.name)] = held.get(int(folder.name), 0) + size
    return found if reported else None


def _drm_files(folder: Path) -> list[str]:
    texts: list[str] = []
    try:
        entries = list((folder / "fd").iterdir())
    except OSError:
        return []
    for entry in entries:
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("/dev/dri/"):
            texts.append(read_text(folder / "fdinfo" / entry.name) or "")
    return texts


def _local_bytes(text: str) -> int | None:
    """Return the bytes in card memory, or None when the kernel gives no region. `resident` wins over `memory`."""
    sums: dict[str, int] = {}
    for line in text.splitlines():
        match = _LOCAL_REGION.match(line)
        if match is not None:
            sums[match[1]] = sums.get(match[1], 0) + int(match[2]) * _UNITS[match[3]]
    return sums.get("resident", sums.get("memory"))
