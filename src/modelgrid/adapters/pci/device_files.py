"""Whether the daemon's user may open the GPU device files under /dev."""

import os
from pathlib import Path

from modelgrid.adapters.pci.host import Identity
from modelgrid.decide.driver_facts import DeviceFileFacts

GPU_GROUPS = ("render", "video")
"""Groups that own /dev/kfd and /dev/dri on the usual distributions (AMD and Intel, installation guides)."""


def device_file_facts(files: list[Path], identity: Identity, root: Path = Path("/")) -> DeviceFileFacts:
    """Return how `identity` stands to `files`. Access is judged by group membership off the real root (tests)."""
    missing = tuple(group for group in GPU_GROUPS if group not in identity.groups)
    if root == Path("/"):
        accessible = all(os.access(path, os.R_OK | os.W_OK) for path in files)
    else:
        accessible = identity.is_root or "render" in identity.groups
    return DeviceFileFacts(
        user=identity.user,
        render_nodes_present=any((root / "dev/dri").glob("renderD*")),
        accessible=accessible,
        missing_groups=() if identity.is_root else missing,
    )
