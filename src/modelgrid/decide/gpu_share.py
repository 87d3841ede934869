"""Whose memory of a GPU is in use: our deployments' or somebody else's. Pure."""

from collections.abc import Collection

from modelgrid.domain.gpu import Gpu


def memory_share(gpu: Gpu, placed: Collection[str], ours: Collection[str]) -> tuple[int | None, int | None]:
    """Return the bytes in use by our deployments and by others; `None` where that cannot be told.

    `placed` are the deployments that were given this GPU, `ours` all that are known here. A vendor that lists no
    processes, or not how much each of them holds, leaves it open on a GPU that we use."""
    own = [process.used_bytes for process in gpu.processes if process.deployment in ours]
    if (placed and not gpu.processes) or None in own:
        return None, None
    held = min(sum(used for used in own if used is not None), gpu.vram_used_bytes)
    return held, gpu.vram_used_bytes - held
