"""One log of everything, over a whole daemon: every source, filters, export, a restart."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemon_under_test import SMALL, DaemonUnderTest, wait_until


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    found = DaemonUnderTest(tmp_path_factory.mktemp("logs"))
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def deployment(daemon: DaemonUnderTest) -> str:
    daemon.client.put_target(SMALL, {"replicas": 1})
    running = wait_until("it runs", lambda: daemon.client.list_deployments(state="running")["items"])
    return str(running[0]["id"])


def records(daemon: DaemonUnderTest, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = daemon.client.list_logs(**{"limit": 5000, **query})["items"]
    return found


def starts(daemon: DaemonUnderTest, deployment: str) -> list[dict[str, Any]]:
    return records(daemon, source=f"deployment:{deployment}", grep="Application startup complete")


def test_every_source_speaks_in_one_order(daemon: DaemonUnderTest, deployment: str) -> None:
    wanted = {"daemon", "scheduler", "gateway", f"deployment:{deployment}"}
    wait_until("all have spoken", lambda: {record["source"] for record in records(daemon)} >= wanted)
    found = records(daemon)
    assert [record["seq"] for record in found] == sorted({record["seq"] for record in found})
    assert any(r["message"] == "control starts" for r in found if r["source"] == "daemon")
    assert any(r["message"].startswith("listens on") for r in found if r["source"] == "gateway")
    created = next(r for r in found if r["message"] == "deployment created")
    assert (created["source"], created["level"], created["fields"]["deployment"]) == ("scheduler", "info", deployment)
    assert all("simulated" in r["message"] for r in records(daemon, source="deployment", level="warning"))
    (ready,) = wait_until(
        "the engine's line is kept",
        lambda: records(daemon, source=f"deployment:{deployment}", grep="Application startup complete"),
    )
    assert ready["fields"]["stream"] in {"stdout", "stderr"}
    assert records(daemon, after=ready["seq"] - 1, limit=1) == [ready]
    assert records(daemon, before=ready["seq"] + 1, limit=1) == [ready]


def test_a_new_record_ends_the_wait(daemon: DaemonUnderTest, deployment: str) -> None:
    here = daemon.client.list_logs(limit=1)["next_after"]
    daemon.client.act(deployment, "restart")
    page = daemon.client.list_logs(source=f"deployment:{deployment}", after=here, wait=30)
    assert page["items"]
    wait_until("it runs again", lambda: len(starts(daemon, deployment)) == 2)


def test_the_export_is_everything(daemon: DaemonUnderTest, deployment: str) -> None:
    with httpx.stream(
        "GET",
        f"{daemon.console_url}/v1/_ui/logs",
        params={"format": "ndjson", "source": f"deployment:{deployment}"},
        headers={"Authorization": f"Bearer {(daemon.state_dir / 'token').read_text().strip()}"},
    ) as answer:
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [line["seq"] for line in lines] == [r["seq"] for r in records(daemon, source=f"deployment:{deployment}")]


@pytest.mark.parametrize(
    "query", [{"grep": "("}, {"grep": "(?=x)"}, {"level": "loud"}, {"limit": 0}, {"after": -1}, {"since": "x"}]
)
def test_what_is_not_understood_is_refused(daemon: DaemonUnderTest, query: dict[str, Any]) -> None:
    token = (daemon.state_dir / "token").read_text().strip()
    answer = httpx.get(f"{daemon.console_url}/v1/_ui/logs", params=query, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_input"


def test_a_restart_goes_on_where_it_was(daemon: DaemonUnderTest, deployment: str) -> None:
    source = f"deployment:{deployment}"
    said = wait_until("it said that it started", lambda: starts(daemon, deployment))
    before = records(daemon, source=source)
    daemon.stop()
    daemon.start()
    wait_until("it is taken up again", lambda: daemon.client.list_deployments(state="running")["items"])
    after = records(daemon, source=source)
    assert after[: len(before)] == before
    assert len({record["seq"] for record in after}) == len(after)
    assert starts(daemon, deployment) == said, "nothing is taken in twice"
    found = [record for record in records(daemon, source="gateway") if record["message"].startswith("listens on")]
    assert len(found) == len({record["fields"]["pid"] for record in found})
    assert all(path.stat().st_mode & 0o077 == 0 for path in Path(daemon.state_dir / "logs").glob("*.ndjson"))
