"""How a task of ours is ended by the task that began it."""

import asyncio
from typing import Any


async def end(task: "asyncio.Task[Any]") -> None:
    """Cancel `task` and wait until it has ended; raises what it raised.

    To await it and suppress `CancelledError` would suppress, too, that whoever calls this is cancelled meanwhile: it
    would go on, and nobody would cancel it again."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
