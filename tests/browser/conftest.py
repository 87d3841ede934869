import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_kit import browser, first_login, missing, watched_page
from playwright.sync_api import Browser

sys.path.append(str(Path(__file__).resolve().parents[1] / "integration"))

from daemon_under_test import SMALL, DaemonUnderTest, daemon_in


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if reason := missing():
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    """A daemon that nobody has logged in to yet."""
    with daemon_in(tmp_path_factory.mktemp("daemon")) as daemon:
        daemon.start()
        yield daemon
        daemon.clear()
        assert daemon.stop() == 0, daemon.words()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[DaemonUnderTest]:
    """A daemon with a deployment that runs and one that cannot; its password is changed."""
    with daemon_in(tmp_path_factory.mktemp("daemon")) as daemon:
        daemon.start()
        page, _ = watched_page(chromium, daemon.console_url)
        first_login(page, one_time_password(daemon))
        page.context.close()
        daemon.run(SMALL)
        daemon.client.ensure("meta-llama/Llama-3.3-70B-Instruct", {"replicas": 1})
        yield daemon
        daemon.clear()
        assert daemon.stop() == 0, daemon.words()


def one_time_password(daemon: DaemonUnderTest) -> str:
    return (daemon.state_dir / "initial-password").read_text().strip()
