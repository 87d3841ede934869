from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from daemon_under_test import DaemonUnderTest, daemon_in


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    """A daemon for a module's tests that do not disturb each other."""
    with daemon_in(tmp_path_factory.mktemp("daemon")) as daemon:
        daemon.start()
        yield daemon
        daemon.clear()
        assert daemon.stop() == 0, daemon.words()
        assert daemon.processes() == [], daemon.describe_processes()


@pytest.fixture
def new_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., DaemonUnderTest]]:
    """Makes daemons with a configuration and options of their own; they are not started yet."""
    with ExitStack() as stack:

        def make(config: dict[str, Any] | None = None, **options: Any) -> DaemonUnderTest:
            return stack.enter_context(daemon_in(tmp_path_factory.mktemp("daemon"), config, **options))

        yield make
