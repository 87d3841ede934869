import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from daemon_under_test import DaemonUnderTest, daemon_in


@pytest.fixture
def new_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., DaemonUnderTest]]:
    """Makes daemons with a configuration and options of their own; they are not started yet."""
    with ExitStack() as stack:

        def make(config: dict[str, Any] | None = None, **options: Any) -> DaemonUnderTest:
            return stack.enter_context(daemon_in(tmp_path_factory.mktemp("daemon"), config, **options))

        yield make
