"""The stream of a whole daemon: what the REST answers show arrives as it changes."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from daemon_under_test import SMALL, DaemonUnderTest

PREFIX = "/v1/_ui"


class Frames:
    """The frames of an open stream."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.last_id = ""

    def next(self) -> tuple[str, dict[str, Any]]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line:
                break
            name, _, value = line.partition(": ")
            fields[name] = value
        self.last_id = fields["id"]
        return fields["event"], json.loads(fields["data"])

    def change(self, topic: str, fits: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """Return the next change of a topic that fits."""
        while True:
            event, data = self.next()
            if event == "change" and data["topic"] == topic and fits(data):
                return data


@contextmanager
def stream(daemon: DaemonUnderTest, topics: str, **more: Any) -> Iterator[Frames]:
    headers = {**daemon.headers, **more.pop("headers", {})}
    url, query = f"{daemon.console_url}{PREFIX}/events", {"topics": topics, **more}
    with httpx.stream("GET", url, params=query, headers=headers, timeout=30, trust_env=False) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        yield Frames(response.iter_lines())


def get(daemon: DaemonUnderTest, path: str, **query: Any) -> httpx.Response:
    return httpx.get(
        f"{daemon.console_url}{PREFIX}{path}", params=query, headers=daemon.headers, timeout=30, trust_env=False
    )


def test_the_life_of_a_deployment_is_seen_step_by_step(shared_daemon: DaemonUnderTest) -> None:
    with stream(shared_daemon, "deployments,targets,placements") as frames:
        assert frames.next()[0] == "hello"
        shared_daemon.client.put_target(SMALL, {})
        states: list[str] = []
        while "running" not in states:
            data = frames.change("deployments")
            if data["value"]["state"] not in states:
                states.append(data["value"]["state"])
        assert states == ["pending", "pulling", "starting", "running"]
        name = data["key"]
        shown = get(shared_daemon, f"/deployments/{name}").json()
        assert data["value"] == {key: shown[key] for key in data["value"]}, "the same as in the REST answer"
        frames.change("targets", lambda d: d["key"] == SMALL and d["value"]["running"] == 1)
        shared_daemon.client.remove_deployment(name)
        gone: set[str] = set()
        while not gone.issuperset({SMALL, name}):  # in either order
            event, data = frames.next()
            gone |= {data["key"]} if event == "change" and data["op"] == "remove" else set()


def test_events_of_one_deployment_are_told_with_their_numbers(shared_daemon: DaemonUnderTest) -> None:
    shared_daemon.client.put_target(SMALL, {})
    [item] = _until(lambda: shared_daemon.client.show_target(SMALL)["deployments"])
    name = item["id"]
    with stream(shared_daemon, f"deployment:{name}") as frames:
        frames.next()
        known = get(shared_daemon, f"/deployments/{name}/events").json()["next_after"]
        shared_daemon.client.act(name, "restart")
        told = []
        while "restart_requested" not in [event["kind"] for event in told]:
            told.append(frames.change(f"deployment:{name}", lambda data: data["key"] == "event")["value"])
        listed = get(shared_daemon, f"/deployments/{name}/events", after=known).json()["items"]
        # What happened while the stream began is told and known: what is told more than once has the same number.
        new = [event for event in told if event["seq"] > known]
        assert new == listed[: len(new)]
    shared_daemon.client.remove_deployment(name)


def _until(look: Callable[[], list[Any]]) -> list[Any]:
    deadline = time.monotonic() + 30
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_a_snapshot_and_the_stream_from_its_position_make_the_whole(shared_daemon: DaemonUnderTest) -> None:
    with stream(shared_daemon, "nodes") as warm:
        warm.next()
        snapshot = get(shared_daemon, "/nodes")
        position = snapshot.headers["x-event-id"]
        shared_daemon.client.act_on_node("here", "cordon")
        shared_daemon.client.act_on_node("here", "activate")
        with stream(shared_daemon, "nodes", last_event_id=position) as frames:
            assert frames.next()[0] == "hello"
            frames.change("nodes", lambda d: d["value"]["status"] == "active")
        stale = {"Last-Event-ID": "another-1"}
        with stream(shared_daemon, "nodes", last_event_id=position, headers=stale) as frames:
            frames.next()
            event, data = frames.next()
            assert (event, data["topics"]) == ("reset", ["nodes"]), "the header goes before the query"


def test_the_stream_beats(shared_daemon: DaemonUnderTest) -> None:
    with stream(shared_daemon, "apikeys") as frames:
        assert frames.next()[0] == "hello"
        before = time.time()
        event, data = frames.next()
        assert event == "beat"
        assert before - 1 <= data["at"] <= before + 15


def test_records_of_the_log_come_by_source_and_level(shared_daemon: DaemonUnderTest) -> None:
    """One stream without a wish shows what the others leave out: all of it was there to be sent."""

    def told(frames: Frames) -> list[dict[str, Any]]:
        """Return the records up to the last one that is provoked below. In a batch they come by source and level."""
        records: list[dict[str, Any]] = []
        while not (last := [r["seq"] for r in records if r["level"] == "error" and "no-such-model" in json.dumps(r)]):
            change = frames.change("logs")
            assert {record["source"] for record in change["value"]} == {change["key"]}
            records += change["value"]
        return sorted((r for r in records if r["seq"] <= last[0]), key=lambda r: r["seq"])

    with (
        stream(shared_daemon, "logs") as every,
        stream(shared_daemon, "logs", source="daemon") as of_daemon,
        stream(shared_daemon, "logs", level="warning") as loud,
        stream(shared_daemon, "logs", source="daemon", level="warning") as both,
    ):
        for frames in (every, of_daemon, loud, both):
            assert frames.next()[0] == "hello"
        shared_daemon.client.put_target(SMALL, {})  # the scheduler tells it, and engines do
        shared_daemon.wait_for({"running": 1}, SMALL)
        shared_daemon.client.patch_config({"api": {"rateLimit": 1000}})  # the daemon tells it
        shared_daemon.client.patch_config({"models": {"autoLoad": ["no-such-model"]}})  # it warns
        records = told(every)
        shown = get(shared_daemon, "/logs", after=records[0]["seq"] - 1, limit=5000).json()["items"]
        assert records == shown[: len(records)]
        quiet = {record["source"] for record in records if record["level"] in ("debug", "info")}
        assert {"daemon", "scheduler"} < quiet, "there is something to leave out, of each kind"

        def wanted(source: str | None, levels: tuple[str, ...]) -> list[dict[str, Any]]:
            return [r for r in records if source in (None, r["source"]) and r["level"] in levels]

        loud_levels, all_levels = ("warning", "error"), ("debug", "info", "warning", "error")
        assert told(of_daemon) == wanted("daemon", all_levels)
        assert told(loud) == wanted(None, loud_levels)
        assert told(both) == wanted("daemon", loud_levels)
    shared_daemon.client.patch_config({"api": {"rateLimit": None}, "models": {"autoLoad": None}})
    shared_daemon.client.delete_target(SMALL)


def test_gauges_come_by_themselves(shared_daemon: DaemonUnderTest) -> None:
    with stream(shared_daemon, "overview,gpus") as frames:
        overview = frames.change("overview")
        assert (overview["op"], overview["key"]) == ("replace", "overview")
        assert overview["value"].keys() == get(shared_daemon, "/overview").json().keys()
        gpu = frames.change("gpus")
        assert gpu["key"] == gpu["value"]["id"] == f"here/{gpu['value']['gpu']['id']}"


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"topics": ""},
        {"topics": "nothing"},
        {"topics": "gpus", "level": "loud"},
        {"topics": "gpus", "last_event_id": "x" * 300},
    ],
    ids=str,
)
def test_a_stream_of_nothing_is_refused(shared_daemon: DaemonUnderTest, query: dict[str, str]) -> None:
    refused = get(shared_daemon, "/events", **query)
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "invalid_input"


def test_streams_do_not_keep_the_daemon_from_ending(new_daemon: Callable[..., DaemonUnderTest]) -> None:
    daemon = new_daemon()
    daemon.start()
    with stream(daemon, "overview") as frames, stream(daemon, "gpus,logs") as others:
        frames.next(), others.next()
        began = time.monotonic()
        control = daemon.control_pid
        daemon.kill_control(15)
        daemon.wait_new_control(control)
        took = time.monotonic() - began
        print(f"control was replaced after {took:.2f} s with two streams open")
        assert took < 15
        old = frames.last_id
    with stream(daemon, "overview", last_event_id=old) as frames:
        frames.next()
        assert frames.next()[0] == "reset", "sequence numbers of another run mean nothing"
    assert daemon.stop() == 0, daemon.words()


def test_frames_are_described_in_the_openapi(shared_daemon: DaemonUnderTest) -> None:
    document = get(shared_daemon, "/openapi.json").json()
    answer = document["paths"][f"{PREFIX}/events"]["get"]["responses"]["200"]
    assert list(answer["content"]) == ["text/event-stream"]
    for name in ("Changed", "Hello", "Beat", "Reset", "Lagged"):
        assert name in document["components"]["schemas"]
