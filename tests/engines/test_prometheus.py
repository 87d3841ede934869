"""A real Prometheus scrapes the page, and its own tool finds nothing wrong with it."""

import json
import subprocess
from collections.abc import Iterator
from math import isnan
from pathlib import Path

import httpx
import pytest
from daemon_under_test import SMALL, DaemonUnderTest, wait_until
from testbed.common import debian_packages
from tests.ports import free_port

from modelgrid.api.metrics import dashboard_text, scrape_config
from modelgrid.config.model import ApiConfig

NOTHING_FAILED = ('status="5xx"', "modelgrid_failovers_total", "modelgrid_upstream_failures_total")
"""Of the dashboard's queries those that have no series in a daemon in which nothing failed."""

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    debian_packages({"promtool": "prometheus"})
    found = DaemonUnderTest(tmp_path_factory.mktemp("prometheus"), {"api": {"workers": 2}})
    found.start()
    found.client.put_target(SMALL, {"replicas": 1})
    wait_until("it runs", lambda: found.client.list_deployments(state="running")["items"])
    with found.openai() as client:
        client.chat.completions.create(model=SMALL, messages=[{"role": "user", "content": "Hi"}])
    wait_until("engines are on the page", lambda: "modelgrid_engine_up{" in page(found))
    yield found
    found.clear()
    found.stop()


def page(daemon: DaemonUnderTest) -> str:
    return httpx.get(f"{daemon.api_url}/metrics", headers={"Authorization": f"Bearer {daemon.key}"}).text


def test_promtool_has_nothing_to_say(daemon: DaemonUnderTest) -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=page(daemon), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_prometheus_scrapes_it_and_answers_the_dashboard(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    snippet = scrape_config(ApiConfig(port=daemon.port, uiPort=daemon.ui_port)).replace(
        "/etc/prometheus/modelgrid.key", str(tmp_path / "key")
    )
    (tmp_path / "key").write_text(daemon.key)
    (tmp_path / "prometheus.yml").write_text("scrape_configs:\n" + snippet.replace("15s", "1s"))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    arguments = ["--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data"]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(["prometheus", *arguments], cwd=tmp_path, stdout=log, stderr=log)
    try:
        wait_until("it scraped twice", lambda: value(url, 'count_over_time(up{job="modelgrid"}[1m])') >= 2, 60)
        assert value(url, 'up{job="modelgrid"}') == 1.0
        assert value(url, "sum(modelgrid_requests_total)") >= 1.0
        assert value(url, 'modelgrid_deployments{state="running"}') == 1.0
        expressions = [t["expr"] for panel in json.loads(dashboard_text())["panels"] for t in panel["targets"]]
        assert {name for name in NOTHING_FAILED if not any(name in text for text in expressions)} == set()
        expected = {text for text in expressions if not any(name in text for name in NOTHING_FAILED)}

        def answered() -> set[str]:
            """Let something happen, as rates need it; return what has series with a number."""
            with daemon.openai() as client:
                client.chat.completions.create(model=SMALL, messages=[{"role": "user", "content": "Hi"}])
            assert httpx.get(f"{daemon.api_url}/v1/models", headers={"Authorization": "Bearer x"}).status_code == 401
            return {text for text in expressions if numbers(url, text.replace("$__rate_interval", "1m"))}

        wait_until("each query has series", lambda: expected <= answered(), 90, lambda: str(expected - answered()))
        assert answered() == expected, "nothing failed"
    finally:
        running.terminate()
        running.wait(30)


def numbers(url: str, expression: str) -> list[float]:
    """Return the values of all series; a quantile of nothing, which is not a number, is none."""
    answer = httpx.get(f"{url}/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", (expression, answer)
    found = [float(item["value"][1]) for item in answer["data"]["result"]]
    return [value for value in found if not isnan(value)]


def value(url: str, expression: str) -> float:
    """Return the first value; 0 while there is none."""
    try:
        result = httpx.get(f"{url}/api/v1/query", params={"query": expression}).json()["data"]["result"]
    except (httpx.HTTPError, ValueError, KeyError):
        return 0.0
    return float(result[0]["value"][1]) if result else 0.0
