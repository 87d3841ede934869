"""Starts the control process: `python -m modelgrid.control --config FILE --state-dir DIR --socket FD`.

Loads `modelgrid.daemon` sooner and smaller than a plain import would, then runs it.
"""

import ctypes
import gc
import resource
import sys
import warnings

NOT_LOADED = ("rich", "pygments", "pydantic.v1")
"""Loaded by structlog, httpx and FastAPI where they are found, for things that this process never does: drawing on a
terminal, and models of an older pydantic. All do without. They would cost 5 MiB and a tenth of the start."""

GC_THRESHOLD = 5_000
"""Objects more than before until the collector looks for cycles among them. What nodes say replaces what they said
before, and is freed without it; with the usual 700 it looked through a large fleet every few seconds for nothing. With
ten times as many, 3 MB more of cycles waited for it (20 nodes, 200 consoles)."""

ARENA_MAX, MMAP_THRESHOLD, TRIM_THRESHOLD = -8, -3, -1
"""Parameters of mallopt(3)."""
LARGE_BYTES = 64 * 1024


def give_back_memory() -> None:
    """Have glibc give memory back that is not used any more. It keeps a heap for each thread that holds on to the most
    that it ever had, and large pieces in the midst of small ones once the first of them was freed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # with musl there is none
        for parameter, value in ((ARENA_MAX, 1), (MMAP_THRESHOLD, LARGE_BYTES), (TRIM_THRESHOLD, LARGE_BYTES)):
            mallopt(parameter, value)


def main() -> None:
    """Load the control process, and run it. Ends the interpreter with its status."""
    give_back_memory()
    # What is loaded stays. A collector that looks through it again and again costs a tenth of the time to load it.
    gc.disable()
    for name in NOT_LOADED:
        sys.modules[name] = None  # type: ignore[assignment]  # as the import system has it: not to be found
    _build_models_when_used()
    from modelgrid.daemon import main as run  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    # A control plane keeps three connections with each of its nodes, and usual limits are 1,024.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    run()


def _build_models_when_used() -> None:
    """Have pydantic make a model's validator at its first use: most of them, FastAPI's description of OpenAPI first of
    all, are not used in the life of a process. That is a tenth of the time to load."""
    from pydantic import BaseModel, ConfigDict  # noqa: PLC0415

    BaseModel.model_config = ConfigDict(defer_build=True)
    # FastAPI names the body of a call so; made at the first call instead of at the start, it is warned of.
    warnings.filterwarnings("ignore", "The 'alias' attribute with value 'body'")


if __name__ == "__main__":
    main()
