"""Settings of a running daemon: changed over the API, by the command line and by hand."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cli_kit import Place
from daemon_under_test import MESSAGES, SMALL, SMALL_ALIAS, DaemonUnderTest, daemon_in, wait_until

from modelgrid.cli.main import run
from modelgrid.config import paths
from modelgrid.domain.errors import InvalidConfig, PreconditionFailed
from modelgrid.domain.routing import RoutingTable

CONFIG = "/v1/_ui/config"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    with daemon_in(tmp_path_factory.mktemp("daemon")) as daemon:
        daemon.start()
        yield daemon
        assert "Traceback" not in daemon.log.read_text()
        assert daemon.stop() == 0, daemon.words()


@pytest.fixture
def http(daemon: DaemonUnderTest) -> Iterator[httpx.Client]:
    """Leaves the file as the daemon was started with."""
    with httpx.Client(base_url=daemon.console_url, headers=daemon.headers, trust_env=False, timeout=30) as client:
        yield client
    daemon.config_path.write_text(json.dumps(daemon.config))
    wait_until("the file is taken over", lambda: not daemon.client.show_config()["problem"])


def on_disk(daemon: DaemonUnderTest) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(daemon.config_path.read_text())
    return document


def test_it_is_shown_with_its_defaults_and_when_each_key_holds(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    response = http.get(CONFIG)
    shown = response.json()
    assert response.headers["etag"] == f'"{shown["etag"]}"'
    assert (shown["source"], shown["path"]) == ("file", str(daemon.config_path))
    assert shown["config"]["api"]["port"] == daemon.port
    assert shown["defaults"]["api.port"] == 8080
    assert shown["applies"]["api.rateLimit"] == "live"
    assert shown["applies"]["api.port"] == "restart"
    assert (shown["pending_restart"], shown["problem"], shown["errors"]) == ([], "", [])


def test_a_rate_limit_reaches_the_gateway_at_once(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    preview = http.patch(CONFIG, params={"dry_run": "true"}, json={"api": {"rateLimit": 1}})
    assert preview.json()["diff"] == [{"path": "api.rateLimit", "before": None, "after": 1, "restart_required": False}]
    assert on_disk(daemon) == daemon.config

    def known() -> int | None:
        table = msgspec.msgpack.decode((daemon.state_dir / "run" / "routing-0.msgpack").read_bytes(), type=RoutingTable)
        return table.settings.requests_per_minute

    assert http.patch(CONFIG, json={"api": {"rateLimit": 7}}).json()["pending_restart"] == []
    wait_until("the gateway's table has the bound", lambda: known() == 7, 10, daemon.words)
    http.patch(CONFIG, json={"api": {"rateLimit": None}})
    wait_until("the gateway's table has none", lambda: known() is None, 10, daemon.words)
    assert on_disk(daemon)["api"] == daemon.config["api"]


def test_a_shorter_line_holds_at_the_gateway_at_once(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    """With a model that is loaded for whoever asks, so that there is something to wait for."""

    def ask() -> tuple[int, str]:
        body = {"model": SMALL, "messages": MESSAGES, "max_tokens": 1}
        key = {"Authorization": f"Bearer {daemon.key}"}
        url = f"{daemon.api_url}/v1/chat/completions"
        answer = httpx.post(url, json=body, headers=key, trust_env=False, timeout=60)
        return answer.status_code, answer.json().get("error", {}).get("code", "")

    change = {"api": {"queueLimit": 0}, "models": {"autoDeploy": True}}
    assert http.patch(CONFIG, json=change).json()["pending_restart"] == []
    wait_until("nobody may wait", lambda: ask() == (503, "queue_full"), 10, daemon.words)
    http.patch(CONFIG, json={"api": {"queueLimit": 1}}).raise_for_status()
    wait_until("one may", lambda: ask() == (200, ""), 20, daemon.words)
    daemon.clear()


def test_cors_holds_at_the_gateway_at_once(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    http.patch(CONFIG, json={"api": {"cors": ["https://a.example"]}})
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}

    def allowed() -> bool:
        answer = httpx.options(f"{daemon.api_url}/v1/models", headers=headers, trust_env=False)
        return answer.headers.get("access-control-allow-origin") == "https://a.example"

    wait_until("the origin is allowed", allowed, 10, daemon.words)


def test_targets_of_the_file_come_and_go_with_it(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    container = {"name": "chat", "model": SMALL, "env": {"HF_TOKEN": "hf_very-secret"}}
    http.patch(CONFIG, json={"containers": [container], "models": {"autoLoad": ["no-such-model"]}}).raise_for_status()
    daemon.wait_for({"running": 1}, target="chat")
    assert any("no-such-model" in reason["cause"] for reason in daemon.client.overview()["reasons"])
    shown = http.get(CONFIG).json()["config"]
    assert "very-secret" not in json.dumps(shown)
    shown["containers"][0]["replicas"] = 2
    assert http.patch(CONFIG, json={"containers": shown["containers"]}).status_code == 200
    assert on_disk(daemon)["containers"][0]["env"] == {"HF_TOKEN": "hf_very-secret"}
    daemon.wait_for({"running": 2}, target="chat")
    http.patch(CONFIG, json={"containers": None, "models": {"autoLoad": []}}).raise_for_status()
    wait_until("they are gone", lambda: not daemon.deployments("chat"), 40, daemon.words)


def test_what_leaves_auto_load_goes_unless_somebody_changed_it(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    def listed(*models: str) -> None:
        http.patch(CONFIG, json={"models": {"autoLoad": models}}).raise_for_status()

    def targets() -> dict[str, tuple[str, str]]:
        return {item["name"]: (item["origin"], item["updated_by"]) for item in daemon.client.list_targets()["items"]}

    seeded = ("catalog", "models.autoLoad")
    scaled, put = "Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B"
    listed(SMALL_ALIAS, scaled, put)
    assert targets() == {SMALL: seeded, scaled: seeded, put: seeded}
    daemon.wait_for({"running": 1}, target=SMALL)
    listed(SMALL_ALIAS, "no-such-model", scaled, put)
    listed("no-such-model", SMALL, scaled, put)
    assert targets() == {SMALL: seeded, scaled: seeded, put: seeded}, "by whatever name"
    daemon.client.scale_target(scaled, {"replicas": 0})
    daemon.client.put_target(put, {})
    listed("no-such-model")
    assert set(targets()) == {scaled, put}
    wait_until("it is gone", lambda: not daemon.deployments(SMALL), 40, daemon.words)
    last = daemon.client.list_events(subject="target", subject_id=SMALL, newest_first=True)["items"][0]
    assert (last["kind"], last["message"], last["by"]) == ("cleared", "no longer in models.autoLoad", "models.autoLoad")
    for model in (scaled, put):
        daemon.client.delete_target(model)
    wait_until("they are gone", lambda: not daemon.deployments(put), 40, daemon.words)


def test_gpus_are_kept_for_a_model_at_once(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    http.patch(CONFIG, json={"gpus": {"assignments": {"nvidia-0": "somebody-else"}}}).raise_for_status()
    assigned = {item["gpu"]["id"]: item["assigned_to"] for item in daemon.client.list_gpus()["items"]}
    assert assigned == {"nvidia-0": "somebody-else", "nvidia-1": None}


def test_another_catalog_is_read_at_once(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    assert http.patch(CONFIG, json={"models": {"registryUrl": "http://127.0.0.1:9/x"}}).status_code == 200
    sources = {item["name"]: item["location"] for item in daemon.client.list_catalog()["sources"]}
    assert sources["registry"] == "http://127.0.0.1:9/x"
    (note,) = wait_until("it is noted", lambda: daemon.client.list_catalog()["notes"], 20, daemon.words)
    assert note.startswith("Catalog registry: http://127.0.0.1:9/x gave no catalog: ")
    found = {check["name"]: check["message"] for check in daemon.client.doctor()["items"]}
    assert found["catalog"] == note
    http.patch(CONFIG, json={"models": {"registryUrl": ""}}).raise_for_status()
    assert [item["name"] for item in daemon.client.list_catalog()["sources"]] == ["packaged"]


def test_the_log_level_holds_at_once(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    http.patch(CONFIG, json={"logLevel": "error"}).raise_for_status()
    before = daemon.log.read_text()
    http.patch(CONFIG, json={"api": {"rateLimit": 77}}).raise_for_status()
    assert "api.rateLimit" not in daemon.log.read_text()[len(before) :]
    http.patch(CONFIG, json={"logLevel": None, "api": {"rateLimit": None}}).raise_for_status()
    assert "api.rateLimit" in daemon.log.read_text()[len(before) :]


def test_what_needs_a_restart_waits_and_says_so(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    done = http.patch(CONFIG, json={"api": {"workers": 2}}).json()
    (waiting,) = done["pending_restart"]
    assert (waiting["path"], waiting["before"], waiting["after"]) == ("api.workers", 1, 2)
    assert http.get(CONFIG).json()["pending_restart"] == [waiting]


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        ({"api": {"port": 0}}, "api.port"),
        ({"api": {"prot": 1}}, "api.prot"),
        ({"containers": [{"name": "a"}]}, "containers.0.model"),
        ({"api": {"tls": {"certFile": "/nowhere", "keyFile": "/nowhere"}}}, "api.tls"),
        ({"models": {"registryUrl": "http://169.254.169.254/x"}}, "models.registryUrl"),
        ({"models": {"sources": [{"name": "x", "url": "catalog.json"}]}}, "models.sources.0.url"),
        ({"cluster": {"sharedSecret": "••••••••"}}, "cluster.sharedSecret"),
        ({"nodeName": "\ud800"}, ""),
    ],
)
def test_a_refusal_says_where(daemon: DaemonUnderTest, http: httpx.Client, patch: Any, path: str) -> None:
    content = json.dumps(patch)
    response = http.patch(CONFIG, content=content, headers={"Content-Type": "application/merge-patch+json"})
    assert response.status_code == 422, response.text
    error = response.json()["error"]
    assert error["code"] in {"invalid_config", "invalid_input"}
    if path:
        assert [item["path"] for item in error["details"]["errors"]] == [path]
    assert on_disk(daemon) == daemon.config


def test_an_edit_by_hand_is_taken_over_and_never_overwritten(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    etag = daemon.client.show_config()["etag"]
    edited = {**daemon.config, "gpus": {**daemon.config["gpus"], "assignments": {"nvidia-1": "mine"}}}
    daemon.config_path.write_text(json.dumps({**edited, "nodeName": "renamed"}))
    wait_until(  # without anybody asking for the configuration
        "the assignment holds",
        lambda: any(item["assigned_to"] == "mine" for item in daemon.client.list_gpus()["items"]),
        10,
        daemon.words,
    )
    assert [item["path"] for item in http.get(CONFIG).json()["pending_restart"]] == ["nodeName"]
    with pytest.raises(PreconditionFailed):
        daemon.client.patch_config({"api": {"rateLimit": 9}}, if_match=etag)
    daemon.config_path.write_text('{"api": {"port":')
    wait_until("somebody is told", lambda: "last good" in json.dumps(daemon.client.overview()["reasons"]), 10)
    shown = http.get(CONFIG).json()
    assert "not JSON" in shown["problem"]
    assert shown["config"]["nodeName"] == "renamed"
    assert http.patch(CONFIG, json={"api": {"rateLimit": 9}}).status_code == 409
    assert daemon.config_path.read_text() == '{"api": {"port":'


def test_the_command_line_asks_the_daemon(
    daemon: DaemonUnderTest, http: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(daemon.config_path, daemon.state_dir)
    dry = place.here(capsys, "config", "set", "api.rateLimit", "50", "--dry-run", "--json")
    assert dry.json["diff"][0]["after"] == 50
    assert on_disk(daemon) == daemon.config
    said = place.here(capsys, "config", "set", "api.rateLimit", "50")
    assert "null → 50" in said.out + said.err
    assert "from now on" in said.out + said.err
    assert place.here(capsys, "config", "get", "api.rateLimit").out == "50\n"
    place.here(capsys, "config", "set", "gpus.assignments", '{"nvidia-0": "a"}')
    place.here(capsys, "config", "set", "gpus.assignments", '{"nvidia-1": "b"}')
    assert on_disk(daemon)["gpus"]["assignments"] == {"nvidia-1": "b"}
    waits = place.here(capsys, "config", "set", "api.workers", "2")
    assert "Restart" in waits.out + waits.err
    assert place.here(capsys, "config", "set", "api.port", "x").code == 2


def test_the_command_line_means_the_file_of_the_daemon_that_runs(
    daemon: DaemonUnderTest,
    http: httpx.Client,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Unless another is named: a daemon that was started with `--config` is found by its state directory."""
    usual = tmp_path / "modelgrid" / "config.json"
    monkeypatch.setattr(paths, "SYSTEM_CONFIG", usual)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("MODELGRID_CONFIG", raising=False)
    assert http.get(CONFIG).json()["usual_path"] is False

    def said(*arguments: str) -> str:
        assert run(["--state-dir", str(daemon.state_dir), "config", *arguments]) == 0
        read = capsys.readouterr()
        return read.out + read.err

    assert f"{daemon.config_path}: api.rateLimit has that value already" in said("set", "api.rateLimit", "null")
    assert f"{daemon.config_path} written" in said("set", "api.rateLimit", "50")
    assert on_disk(daemon)["api"]["rateLimit"] == 50
    assert said("get", "api.rateLimit") == "50\n"
    assert said("validate") == f"{daemon.config_path} is valid.\n"
    assert not usual.exists()
    other = tmp_path / "other.json"
    assert f"{other} written" in said("set", "api.rateLimit", "60", "--config", str(other))
    assert on_disk(daemon)["api"]["rateLimit"] == 50


def test_of_many_writers_one_wins_each_revision(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    """R29. Each writer counts a register up from what it read. Lost or doubled writes would break the chain."""
    writers, rounds = 50, 2
    barrier = threading.Barrier(writers)
    history: list[tuple[str, int, str, int]] = []

    def write(_: int) -> None:
        with httpx.Client(base_url=daemon.console_url, headers=daemon.headers, trust_env=False, timeout=60) as mine:
            barrier.wait(60)
            won = 0
            while won < rounds:
                read = mine.get(CONFIG)
                value = read.json()["config"]["api"]["rateLimit"] or 0
                answer = mine.patch(
                    CONFIG, json={"api": {"rateLimit": value + 1}}, headers={"If-Match": read.headers["etag"]}
                )
                assert answer.status_code in {200, 412}, answer.text
                if answer.status_code == 200:
                    won += 1
                    history.append((read.headers["etag"], value, answer.headers["etag"], value + 1))

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))
    chain = sorted(history, key=lambda step: step[1])
    assert [step[1] for step in chain] == list(range(writers * rounds)), "every value was written exactly once"
    for one, following in pairwise(chain):
        assert one[2] == following[0], "each write followed the one that it had read"
    assert on_disk(daemon)["api"]["rateLimit"] == writers * rounds


def test_nothing_but_the_file_is_left_in_its_folder(daemon: DaemonUnderTest) -> None:
    left = [path.name for path in Path(daemon.config_path.parent).glob(".config.json*")]
    assert left == []
    with pytest.raises(InvalidConfig):
        daemon.client.patch_config({"api": {"workers": 0}})
