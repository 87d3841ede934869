"""Figures over a whole daemon: series, one deployment's present, the page for Prometheus, what is made for Grafana."""

import asyncio
import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import httpx
import msgspec
import pytest
from daemon_under_test import SMALL, DaemonUnderTest, wait_until
from prometheus_client.parser import text_string_to_metric_families

from modelgrid.api.metrics import dashboard_text, scrape_config
from modelgrid.config.model import ApiConfig, TlsConfig
from modelgrid.domain.routing import RoutingTable
from modelgrid.gateway.control_part import STALE_SECONDS, control_part, verdict
from modelgrid.gateway.core import Core
from modelgrid.gateway.sheet import FAMILIES

REQUESTS = 6


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    found = DaemonUnderTest(tmp_path_factory.mktemp("metrics"))
    found.start()
    found.client.put_target(SMALL, {"replicas": 1})
    wait_until("it runs", lambda: found.client.list_deployments(state="running")["items"])
    with found.openai() as client:
        for _ in range(REQUESTS):
            client.chat.completions.create(model=SMALL, messages=[{"role": "user", "content": "Hi"}])
    yield found
    found.stop()


def ask(daemon: DaemonUnderTest, path: str, **query: Any) -> httpx.Response:
    token = (daemon.state_dir / "token").read_text().strip()
    url = f"{daemon.console_url}/v1/_ui{path}"
    return httpx.get(url, params=query, headers={"Authorization": f"Bearer {token}"})


def points(daemon: DaemonUnderTest, name: str, **query: Any) -> list[float]:
    items = ask(daemon, "/metrics/series", name=name, **query).json()["items"]
    return [value for item in items for _, value in item["points"] if value is not None]


def test_traffic_becomes_series(daemon: DaemonUnderTest) -> None:
    wait_until("requests are in the series", lambda: sum(points(daemon, "requests_per_second")) > 0)
    wait_until("and of the model", lambda: sum(points(daemon, "model_output_tokens_per_second", model=SMALL)) > 0)
    assert points(daemon, "model_output_tokens_per_second", model="another") == []
    (deployment,) = daemon.client.list_deployments()["items"]
    wait_until("and of the engine", lambda: sum(points(daemon, "deployment_output_tokens_per_second")) > 0)
    wait_until("and its quantiles", lambda: points(daemon, "deployment_ttft_p99_seconds", deployment=deployment["id"]))
    assert 0 < max(points(daemon, "latency_p95_seconds")) < 60
    both = ask(daemon, "/metrics/series", name=["gpu_vram_used_bytes", "gpu_power_watts"]).json()
    assert [(i["name"], i["labels"]["gpu"]) for i in both["items"]] == [
        ("gpu_vram_used_bytes", "nvidia-0"), ("gpu_vram_used_bytes", "nvidia-1"),
        ("gpu_power_watts", "nvidia-0"), ("gpu_power_watts", "nvidia-1"),
    ]  # fmt: skip
    assert both["step"] == 2
    assert len({tuple(t for t, _ in item["points"]) for item in both["items"]}) == 1, "all have the same times"


def test_the_present_of_one_deployment(daemon: DaemonUnderTest) -> None:
    (deployment,) = daemon.client.list_deployments()["items"]
    found = wait_until(
        "the engine was read after the requests",
        lambda: (
            (m := ask(daemon, f"/deployments/{deployment['id']}/metrics").json())["latency"]["count"]
            and m["running"] == 0
            and m
        ),
    )
    assert found["waiting"] == 0
    assert found["latency"]["p50"] <= found["latency"]["p99"]
    assert found["latency"]["buckets"][-1]["le"] is None
    assert sum(bucket["count"] for bucket in found["latency"]["buckets"]) == found["latency"]["count"]
    assert found["kv_cache_blocks"] * found["kv_cache_block_tokens"] > 0
    assert 0 < found["vram_used_bytes"] < found["vram_total_bytes"]
    assert found["engine_problem"] == ""


def test_gateways_are_told_how_much_an_engine_caches(daemon: DaemonUnderTest) -> None:
    """So that they remember as much of prompts as it does, and no more."""
    (deployment,) = daemon.client.list_deployments()["items"]
    path = daemon.state_dir / "run" / "routing-0.msgpack"

    def told() -> dict[str, int | None]:
        table = msgspec.msgpack.decode(path.read_bytes(), type=RoutingTable)
        return {replica.id: replica.cache_blocks for route in table.models for replica in route.replicas}

    wait_until("the table has a size", lambda: told().get(deployment["id"]), 40, daemon.words)
    blocks = ask(daemon, f"/deployments/{deployment['id']}/metrics").json()["kv_cache_blocks"]
    assert told() == {deployment["id"]: blocks}


def test_it_is_streamed(daemon: DaemonUnderTest) -> None:
    (deployment,) = daemon.client.list_deployments()["items"]
    token = (daemon.state_dir / "token").read_text().strip()
    topic = f"deployment:{deployment['id']}"
    url = f"{daemon.console_url}/v1/_ui/events"
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.stream("GET", url, params={"topics": topic}, headers=headers, timeout=30) as stream:
        said = (json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: "))
        change = next(data for data in said if "op" in data)
    assert (change["topic"], change["op"], change["key"]) == (topic, "replace", "metrics")
    assert change["value"].keys() == ask(daemon, f"/deployments/{deployment['id']}/metrics").json().keys()


@pytest.mark.parametrize(
    "query",
    [{}, {"name": "nothing"}, {"name": "in_flight", "step": 0}, {"name": "in_flight", "since": "now"},
     {"name": "in_flight", "since": 2e9, "until": 1e9}],
)  # fmt: skip
def test_what_is_not_understood_is_refused(daemon: DaemonUnderTest, query: dict[str, Any]) -> None:
    answer = ask(daemon, "/metrics/series", **query)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_input"


def page(daemon: DaemonUnderTest) -> str:
    return httpx.get(f"{daemon.api_url}/metrics", headers={"Authorization": f"Bearer {daemon.key}"}).text


def test_one_page_for_prometheus(daemon: DaemonUnderTest) -> None:
    """Every family once, every metric of the dashboard there."""
    text = wait_until("control's part is there", lambda: (t := page(daemon)).count("modelgrid_engine_up{") and t)
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    assert len(re.findall(r"^# TYPE ", text, re.MULTILINE)) == len(families)
    names = {sample.name for family in families for sample in family.samples} | {
        line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")
    }
    names |= FAMILIES.keys()  # of which the page has those that were counted
    board = json.loads(dashboard_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    used = {name for text in expressions for name in re.findall(r"\bmodelgrid_[a-z0-9_]+", text)}
    assert used <= names, used - names
    assert len(used) > 20
    values = {family.name: family.samples for family in families}
    assert [s.value for s in values["modelgrid_control_up"]] == [1.0]
    (running,) = [s.value for s in values["modelgrid_deployments"] if s.labels["state"] == "running"]
    assert running == 1.0
    assert sum(s.value for s in values["modelgrid_engine_generation_tokens"]) > 0


def test_the_dashboard_is_one(daemon: DaemonUnderTest) -> None:
    answer = ask(daemon, "/metrics/dashboard")
    assert answer.headers["content-type"] == "application/json"
    board = answer.json()
    assert board["title"] == "ModelGrid"
    assert board["schemaVersion"] >= 39
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    places = [
        {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        for g in (panel["gridPos"] for panel in board["panels"])
    ]
    assert sum(map(len, places)) == len(set().union(*places)), "no panel lies on another"
    assert all(x < 24 for x, _ in set().union(*places))
    known = {item["name"] for item in board["templating"]["list"]}
    assert all(t["datasource"]["uid"].strip("${}") in known for panel in board["panels"] for t in panel["targets"])
    assert f"127.0.0.1:{daemon.port}" in ask(daemon, "/metrics/scrape-config").text
    assert '["[::1]:8080"]' in scrape_config(ApiConfig(host="::1"))
    assert "scheme" not in scrape_config(ApiConfig())
    assert "  scheme: https" in scrape_config(ApiConfig(tls=TlsConfig(certFile="c", keyFile="k"))).splitlines()[5]


async def test_without_control_its_part_is_absent() -> None:
    core = Core.__new__(Core)
    core.table = RoutingTable(epoch="e", generation=1, control_metrics="modelgrid_deployments 1", verdict="degraded")
    core.loop = cast("asyncio.AbstractEventLoop", SimpleNamespace(time=lambda: 1_000.0))
    for heard, up in ((None, 0), (1_000.0 - STALE_SECONDS - 1, 0), (999.0, 1)):
        core.heard_control_at = heard
        text = control_part(core)
        assert f"modelgrid_control_up {up}\n" in text
        assert ("modelgrid_deployments 1\n" in text) is bool(up)
        assert verdict(core) == ("degraded" if up else "unknown"), "an old verdict is none"
    core.table = RoutingTable(epoch="e", generation=2)
    assert verdict(core) == "unknown"
