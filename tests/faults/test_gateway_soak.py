"""Mixed load with kills among it; see `gateway_soak.py`. Three minutes of a light load in the suite, which has other
work for the processor; `make soak` runs half an hour of a heavy one."""

import os
from pathlib import Path

import pytest
from gateway_soak import REPLICAS, WRONG_SHOWN, soak

SECONDS = float(os.environ.get("SOAK_SECONDS") or 180)
CLIENTS, PAUSE = (24, 0.0) if "SOAK_SECONDS" in os.environ else (6, 0.2)
KEPT = REPLICAS * CLIENTS
"""Connections to replicas that may wait in the pools."""
RSS_GROWTH_BYTES = 8_000_000
"""Between the second third and the last: noise of the allocator, not a leak of requests."""


@pytest.mark.timeout(SECONDS * 2 + 120)
async def test_mixed_load_with_kills(tmp_path: Path) -> None:
    found = await soak(tmp_path, SECONDS, clients=CLIENTS, pause=PAUSE)
    print(f"soak: {found}")
    assert found.wrong == [], "\n".join(found.wrong[:WRONG_SHOWN])
    assert found.counts["kills"] >= int(SECONDS // 30)  # one every 20 s, and a moment until the next engine is up
    assert found.counts["whole"] > CLIENTS * SECONDS / 3
    assert found.counts["streamed"] > CLIENTS * SECONDS / 5
    assert found.counts["cancelled"] > CLIENTS * SECONDS / 24
    assert found.descriptors[1] - found.descriptors[0] <= KEPT + 2
    assert found.threads[1] - found.threads[0] <= 2
    third = len(found.rss) // 3
    assert max(found.rss[2 * third :]) - max(found.rss[third : 2 * third]) <= RSS_GROWTH_BYTES
