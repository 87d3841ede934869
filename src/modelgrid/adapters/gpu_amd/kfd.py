"""The compute side of amdgpu: topology and processes of the kernel fusion driver (/sys/class/kfd)."""

from dataclasses import dataclass
from pathlib import Path

from modelgrid.adapters.pci.host import read_int, read_text

_KFD = "sys/class/kfd/kfd"


@dataclass(frozen=True, slots=True)
class KfdNode:
    gpu_id: int
    render_minor: int
    """128 for /dev/dri/renderD128: what ties the node to its DRM card."""
    gfx_target: str
    name: str


def gfx_name(version: int) -> str:
    """Return the compiler's name of a `gfx_target_version`: two decimal digits per step, the last two in hex.

    >>> gfx_name(90402), gfx_name(90010), gfx_name(110000)
    ('gfx942', 'gfx90a', 'gfx1100')
    """
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def kfd_nodes(root: Path = Path("/")) -> tuple[KfdNode, ...]:
    """Return the GPU nodes of the topology. CPU nodes have the gfx version 0 and are left out."""
    nodes: list[KfdNode] = []
    for folder in sorted((root / _KFD / "topology/nodes").glob("[0-9]*")):
        properties: dict[str, int] = {}
        for line in (read_text(folder / "properties") or "").splitlines():
            key, _, value = line.partition(" ")
            if value.strip().isdigit():
                properties[key] = int(value)
        gpu_id = read_int(folder / "gpu_id")
        version = properties.get("gfx_target_version", 0)
        if gpu_id and version:
            nodes.append(
                KfdNode(
                    gpu_id=gpu_id,
                    render_minor=properties.get("drm_render_minor", -1),
                    gfx_target=gfx_name(version),
                    name=(read_text(folder / "name") or "").strip(),
                )
            )
    return tuple(nodes)


def vram_by_process(node: KfdNode | None, root: Path = Path("/")) -> tuple[tuple[int, int], ...]:
    """Return (host pid, VRAM bytes) of each compute process that holds memory on the node's GPU, by pid."""
    if node is None:
        return ()
    found: list[tuple[int, int]] = []
    for folder in (root / _KFD / "proc").glob("[0-9]*"):
        size = read_int(folder / f"vram_{node.gpu_id}")
        if size:
            found.append((int(folder.name), size))
    return tuple(sorted(found))
