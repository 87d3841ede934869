"""GPU probes in a child process of their own, which is killed when a driver hangs.

`reader` is the daemon's side, `__main__` the child's, `wire` what they say to each other. The names below are loaded
when they are first used: the child is started as `python -m modelgrid.adapters.gpu_reader`, which runs this file too,
and must not pay for the daemon's side (asyncio) with its memory.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelgrid.adapters.gpu_reader.in_process import InProcessReader
    from modelgrid.adapters.gpu_reader.install_facts import gather_install_facts
    from modelgrid.adapters.gpu_reader.reader import HOST_PROBES, GpuProbeFailed, GpuReader, ProbeSpec, host_readers

__all__ = [
    "HOST_PROBES",
    "GpuProbeFailed",
    "GpuReader",
    "InProcessReader",
    "ProbeSpec",
    "gather_install_facts",
    "host_readers",
]
_HOMES = {"InProcessReader": "in_process", "gather_install_facts": "install_facts"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'reader')}"), name)
