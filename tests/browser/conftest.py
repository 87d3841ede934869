import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_kit import browser, first_login, log_in, missing, one_time_password, settled, watched_page
from playwright.sync_api import Browser, Page

sys.path.append(str(Path(__file__).resolve().parents[1] / "integration"))

from daemon_under_test import SMALL, DaemonUnderTest, daemon_in


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    own = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    reason = missing()
    if reason and own and os.environ.get("MODELGRID_CI"):
        raise pytest.UsageError(f"The browser tests cannot run: {reason}")
    if reason:
        for item in own:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for each file: its driver keeps an event loop running, beside which no other test could have one."""
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
        first_login(page, one_time_password(daemon.state_dir))
        page.context.close()
        daemon.run(SMALL)
        daemon.client.put_target("meta-llama/Llama-3.3-70B-Instruct", {"replicas": 1})
        yield daemon
        daemon.clear()
        assert daemon.stop() == 0, daemon.words()


@pytest.fixture
def page(chromium: Browser, fleet: DaemonUnderTest) -> Iterator[Page]:
    """The overview, logged in; nothing may go against the page's policy or to another host until the end."""
    page, seen = watched_page(chromium, fleet.console_url)
    log_in(page)
    settled(page)
    yield page
    seen.nothing()
    page.context.close()
