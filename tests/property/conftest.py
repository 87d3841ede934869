"""How many examples the properties are tried with: 100, or 10,000 with `MODELGRID_NIGHTLY=1`."""

import gc
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from modelgrid.gateway.board import Board

NIGHTLY = os.environ.get("MODELGRID_NIGHTLY") == "1"
NIGHTLY_SECONDS = 3600
BOARDS_AT_ONCE = 100

# Examples are worlds of several nodes, and machines are shared: time per example says nothing here.
settings.register_profile("default", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("nightly" if NIGHTLY else "default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if NIGHTLY and here in item.path.parents:
            item.add_marker(pytest.mark.timeout(NIGHTLY_SECONDS))


@pytest.fixture(autouse=True)
def _pages_end_with_their_examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A gateway keeps its page for as long as it lives; thousands of examples in one process would have no room."""
    make, made = Board.private, [0]

    def private() -> Board:
        made[0] += 1
        if made[0] % BOARDS_AT_ONCE == 0:
            gc.collect()  # they are in cycles, and hold few objects each
        board = make()
        weakref.finalize(board, os.close, board.descriptor)
        return board

    monkeypatch.setattr(Board, "private", private)
    yield
    gc.collect()
