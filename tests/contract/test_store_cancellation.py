"""Who is cancelled while the database answers is cancelled: a loop that lost it would hold up the process' end."""

import asyncio
import time
from pathlib import Path

import pytest

from modelgrid.adapters.store_sql import open_store


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancellation_is_not_lost_when_the_answer_comes_with_it(tmp_path: Path, turns: int) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/state.db")
    try:
        asking = asyncio.create_task(store.settings(["any"]))
        await asyncio.sleep(0)  # it has asked
        time.sleep(0.2)  # noqa: ASYNC251  the answer comes while the loop is busy
        for _ in range(turns):
            await asyncio.sleep(0)
        if asking.cancel():
            with pytest.raises(asyncio.CancelledError):
                await asking
        else:
            assert await asking == {}
    finally:
        await store.close()
