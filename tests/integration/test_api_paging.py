"""Lists that grow: filters and pages of a whole daemon, in the API and on the command line."""

import json
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest
from cli_kit import PROGRAM
from daemon_under_test import SMALL, DaemonUnderTest

SECOND, THIRD, TOO_LARGE = "Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B", "deepseek-ai/DeepSeek-V3.1"


@pytest.fixture(scope="module")
def daemon(shared_daemon: DaemonUnderTest) -> DaemonUnderTest:
    """One with two deployments that run, one without a place, two that ended, and some keys and tokens."""
    client = shared_daemon.client
    client.put_target(SMALL, {"replicas": 2})
    shared_daemon.wait_for({"running": 2}, SMALL)
    client.put_target(TOO_LARGE, {})
    for model in (SECOND, THIRD):
        client.put_target(model, {})
        shared_daemon.wait_for({"running": 1}, model)
        client.delete_target(model)
        shared_daemon.wait_for({}, model)
    for number in range(3):
        key = client.generate_api_key({"label": f"key {number}"})["id"]
        token = client.generate_token({"label": f"token {number}"})["id"]
    client.revoke_api_key(key)
    client.revoke_token(token)
    return shared_daemon


def ids(page: Mapping[str, Any]) -> list[str]:
    return [item["id"] for item in page["items"]]


def walked(ask: Callable[..., Any], cursor: str, **query: Any) -> list[Any]:
    """Return all rows, page by page of one."""
    found: list[Any] = []
    place = None
    while True:
        page = ask(limit=1, **{cursor: place}, **query)
        assert len(page["items"]) <= 1
        found += page["items"]
        place = page[f"next_{cursor}"]
        if place is None:
            return found


def test_deployments_are_filtered_and_paged(daemon: DaemonUnderTest) -> None:
    ask = daemon.client.list_deployments
    everything = ask()
    assert (len(ids(everything)), everything["next_after"]) == (3, None)
    assert [item["id"] for item in walked(ask, "after")] == ids(everything)
    running = ids(ask(state=["running"]))
    assert len(running) == 2
    assert ids(ask(model=SMALL)) == running
    assert ids(ask(node="here")) == running, "one without a place is on no node"
    assert ids(ask(node="elsewhere")) == []
    assert ids(ask(state=["pending", "running"], origin="api", model=TOO_LARGE)) == ids(ask(state=["pending"]))
    assert ids(ask(origin="config")) == []


def test_deployments_have_rates(daemon: DaemonUnderTest) -> None:
    for item in daemon.client.list_deployments(state=["running"])["items"]:
        assert item["requests_per_second"] is not None
        assert (item["error_ratio"] is None) is (item["requests_per_second"] == 0)


def test_the_history_is_filtered_and_paged(daemon: DaemonUnderTest) -> None:
    ask = daemon.client.list_history
    everything = ask()
    assert [item["model"] for item in everything["items"]] == [THIRD, SECOND]
    assert everything["next_before"] is None
    assert [item["id"] for item in walked(ask, "before")] == ids(everything)
    assert [item["model"] for item in ask(model=SECOND)["items"]] == [SECOND]
    assert walked(ask, "before", node="here", origin="api") == everything["items"]
    assert ask(node="elsewhere")["items"] == []


def test_credentials_are_filtered_and_paged(daemon: DaemonUnderTest) -> None:
    for ask in (daemon.client.list_api_keys, daemon.client.list_tokens):
        everything = ids(ask())
        assert [item["id"] for item in walked(ask, "after")] == everything
        revoked, active = ids(ask(status="revoked")), ids(ask(status="active"))
        assert len(revoked) == 1
        assert [name for name in everything if name not in revoked] == active
        assert ids(ask(status="expired")) == []


def test_events_and_audit_are_read_backwards(daemon: DaemonUnderTest) -> None:
    client = daemon.client
    newest = client.list_events(limit=5)
    older = client.list_events(limit=5, before=newest["next_before"])
    numbers = [item["seq"] for item in [*newest["items"], *older["items"]]]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 10
    assert client.list_events(before=2)["next_before"] is None
    between = client.list_events(after=numbers[5], before=numbers[0], newest_first=False)["items"]
    assert [item["seq"] for item in between] == sorted(numbers[1:5])
    entries = walked(client.list_audit, "before", action="put_target")
    assert {item["action"] for item in entries} == {"put_target"}
    assert [item["seq"] for item in entries] == sorted((item["seq"] for item in entries), reverse=True)


@pytest.mark.parametrize(
    "query",
    [
        "deployments?after=x", "deployments?limit=0", "deployments?limit=5001", "deployments?state=nonsense",
        "deployments?origin=nonsense", "history?before=1", "history?before=nan~a", "apikeys?status=nonsense",
        "apikeys?after=~", "timeline?before=0", "audit?before=x", f"deployments?after={'9' * 400}~a",
    ],
)  # fmt: skip
def test_a_place_or_word_that_does_not_exist_is_refused(daemon: DaemonUnderTest, query: str) -> None:
    answer = httpx.get(f"{daemon.console_url}/v1/_ui/{query}", headers=daemon.headers, trust_env=False)
    assert answer.status_code == 422
    assert query.partition("?")[2].partition("=")[0] in answer.text


def test_the_command_line_has_the_filters(daemon: DaemonUnderTest) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        where = ("--state-dir", str(daemon.state_dir))
        return subprocess.run([*PROGRAM, *words, *where], check=False, capture_output=True, text=True, timeout=60)

    def listed(*words: str) -> list[Any]:
        done = run(*words, "--json")
        assert done.returncode == 0, done.stderr
        found: list[Any] = json.loads(done.stdout)["items"]
        return found

    assert {item["model"] for item in listed("ps", "--state", "running")} == {SMALL}
    assert [item["model"] for item in listed("ps", "--model", TOO_LARGE, "--origin", "api")] == [TOO_LARGE]
    assert len(listed("container", "list", "--node", "here")) == 2
    assert [item["model"] for item in listed("container", "history", "--limit", "1")] == [THIRD]
    assert [item["model"] for item in listed("container", "history", "--model", SECOND)] == [SECOND]
    assert {item["status"] for item in listed("config", "apikey", "list", "--status", "revoked")} == {"revoked"}
    assert {item["action"] for item in listed("config", "audit", "--action", "put_target")} == {"put_target"}
    assert run("ps", "--state", "nonsense").returncode == 2
