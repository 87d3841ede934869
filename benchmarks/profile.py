"""Where the gateway's time goes: py-spy, with native frames, while it is under load."""

import asyncio
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.machine import OUT, from_pypi, say

RATE = 500
"""Samples per second."""


async def profile(pid: int, seconds: int, load: Callable[[], Awaitable[object]]) -> Path:
    """Sample the process while `load` runs; return the file with the result. Raises `Unavailable`."""
    program = from_pypi("py-spy", "py-spy", "py-spy")
    raw = OUT / "profile.folded"
    argv = [
        program, "record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(RATE), "--native",
        "--format", "raw", "--output", str(raw),
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
    await load()
    _, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"py-spy failed: {errors.decode(errors='replace').strip()}")
    target = OUT / "profile.txt"
    target.write_text(summary(raw.read_text()))
    say(f"profile: {target} (and {raw.name}: folded stacks for a flame graph)")
    return target


def summary(folded: str) -> str:
    """Return, of folded stacks, what the samples were in: the innermost frames, and every frame with what it called."""
    own: Counter[str] = Counter()
    under: Counter[str] = Counter()
    total = 0
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(count)
        total += int(count)
        for frame in set(frames):
            under[frame] += int(count)
    lines = [f"{total} samples", "", "own time"]
    lines += [f"{count / total:7.1%}  {frame}" for frame, count in own.most_common(40)]
    lines += ["", "with what it called"]
    lines += [f"{count / total:7.1%}  {frame}" for frame, count in under.most_common(60)]
    return "\n".join(lines) + "\n"
