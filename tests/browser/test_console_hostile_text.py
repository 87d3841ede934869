"""S12: what others have named stays text in every view, whatever it looks like."""

from collections.abc import Iterator
from typing import Any

import pytest
from browser_kit import first_login, one_time_password, settled, view_paths, watched_page
from daemon_under_test import SMALL, DaemonUnderTest, daemon_in
from playwright.sync_api import Browser, expect

EVIL = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
GPU = f"NVIDIA {EVIL}"[:80]

_STRANGE = """() => {
  const inside = (root) =>
    [...root.querySelectorAll('*')].flatMap((e) => [e, ...(e.shadowRoot ? inside(e.shadowRoot) : [])]);
  return inside(document.body).filter((e) => e.matches('img[src="x"], script')).map((e) => e.outerHTML);
}"""


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    """A daemon in which a GPU and an API key have names that are meant to be run."""
    config: dict[str, Any] = {"gpus": {"simulate": [{"name": GPU, "vramGib": 80}]}}
    with daemon_in(tmp_path_factory.mktemp("daemon"), config) as daemon:
        daemon.start()
        daemon.run(SMALL)
        daemon.client.generate_api_key({"label": EVIL})
        daemon.client.generate_token({"label": EVIL, "role": "viewer"})
        yield daemon
        daemon.clear()
        assert daemon.stop() == 0, daemon.words()


def test_names_stay_text_in_every_view(chromium: Browser, named: DaemonUnderTest) -> None:
    page, seen = watched_page(chromium, named.console_url)
    first_login(page, one_time_password(named.state_dir))
    for path in view_paths():
        page.goto(path)
        settled(page)
        assert page.evaluate(_STRANGE) == [], path
        assert "taken" not in page.title(), path
    page.goto("/gpus/devices")
    expect(page.get_by_text(GPU).first).to_be_visible()
    page.goto("/access/apikeys")
    expect(page.get_by_text(EVIL).first).to_be_visible()
    seen.nothing()
    print(f"S12: two names in {len(view_paths())} views; nothing of them was run or became an element")
    page.context.close()
