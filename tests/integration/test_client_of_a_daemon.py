"""The Python client against a whole daemon: answers are what its types say, and its stream goes on over a restart."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import msgspec
import pytest
from daemon_under_test import SMALL, DaemonUnderTest

from modelgrid.client import views
from modelgrid.client.http import ModelGridClient
from modelgrid.client.stream import Frame
from modelgrid.domain.errors import DaemonUnreachable, InvalidInput, PreconditionFailed, Unauthenticated

READS = sorted(
    name
    for name, method in inspect.getmembers(ModelGridClient, inspect.isfunction)
    if name.startswith(("list_", "show_", "deployment_", "metrics_", "config_", "verify_"))
    or name in ("overview", "doctor", "health")
)


@pytest.fixture(scope="module")
def deployed(shared_daemon: DaemonUnderTest) -> Mapping[str, Any]:
    """Arguments for calls that read one thing; there is one of each."""
    client = shared_daemon.client
    client.put_target(SMALL, {"env": {"HF_TOKEN": "hf_x"}})
    client.put_target("deepseek-ai/DeepSeek-V3.1", {})
    (item,) = shared_daemon.wait_for({"running": 1}, SMALL)
    assert shared_daemon.key
    client.generate_token({"label": "reader"})
    client.put_target("Qwen/Qwen3-0.6B", {})
    (gone,) = shared_daemon.wait_for({"running": 1}, "Qwen/Qwen3-0.6B")
    client.delete_target("Qwen/Qwen3-0.6B")
    shared_daemon.wait_for({}, "Qwen/Qwen3-0.6B")
    return {
        "deployment": item["id"],
        "gone": gone["id"],
        "model": SMALL,
        "name": client.list_nodes()["items"][0]["name"],
        "names": ["gpu_utilization_percent"],
    }


def arguments(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    if method == "show_history":
        return {"deployment": given["gone"]}
    if method == "metrics_series":
        return {"name": [item["name"] for item in given["metrics"]]}
    taken = inspect.signature(getattr(ModelGridClient, method)).parameters.values()
    return {item.name: given[item.name] for item in taken if item.default is item.empty and item.name != "self"}


@pytest.mark.parametrize("method", [name for name in READS if name != "show_session"])
def test_an_answer_is_what_its_type_says(
    shared_daemon: DaemonUnderTest, deployed: Mapping[str, Any], method: str
) -> None:
    client = shared_daemon.client
    given = {**deployed, "metrics": client.metrics_names()["items"]}
    answer = getattr(client, method)(**arguments(method, given))
    kind = get_type_hints(getattr(ModelGridClient, method), vars(views))["return"]
    if kind is Any:
        assert answer
        return
    msgspec.convert(answer, kind)
    if isinstance(answer, dict) and "items" in answer and method not in ("list_clients", "list_sessions"):
        assert answer["items"], "with an empty list the test would show little"


def test_a_wrong_type_is_noticed(shared_daemon: DaemonUnderTest) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(shared_daemon.client.overview(), views.NodeList)


def test_an_edit_of_what_somebody_else_changed_is_refused(shared_daemon: DaemonUnderTest) -> None:
    client = shared_daemon.client
    revision = client.put_target("deepseek-ai/DeepSeek-V3.1", {"replicas": 1})["revision"]
    changed = client.scale_target("deepseek-ai/DeepSeek-V3.1", {"replicas": 2}, if_match=revision)
    assert changed["replicas"] == 2
    with pytest.raises(PreconditionFailed):
        client.scale_target("deepseek-ai/DeepSeek-V3.1", {"replicas": 3}, if_match=revision)


def test_the_log_is_exported_line_by_line(shared_daemon: DaemonUnderTest) -> None:
    client = shared_daemon.client
    records = list(client.export_logs(source=["daemon"]))
    assert [record["seq"] for record in records] == sorted(record["seq"] for record in records)
    assert {record["source"] for record in records} == {"daemon"}
    msgspec.convert(records, list[views.LogRecordView])


def test_a_login_is_a_credential(new_daemon: Callable[..., DaemonUnderTest]) -> None:
    daemon = new_daemon()
    daemon.start()
    daemon.client.set_password("admin", {"password": "a sentence of my own"})
    with ModelGridClient(daemon.console_url) as client:
        with pytest.raises(Unauthenticated):
            client.overview()
        client.login({"user": "admin", "password": "a sentence of my own"})
        assert client.show_session()["user"] == "admin"
        client.logout()
        with pytest.raises(Unauthenticated):
            client.overview()


def test_a_stream_goes_on_behind_its_last_frame_over_a_restart(new_daemon: Callable[..., DaemonUnderTest]) -> None:
    daemon = new_daemon()
    daemon.start()
    stream = daemon.client.stream_events(["targets", "overview"])
    assert next(stream).event == "hello"
    daemon.client.put_target("deepseek-ai/DeepSeek-V3.1", {"replicas": 0})
    change = until(stream, lambda frame: frame.data.get("topic") == "targets")
    assert change.data["value"]["model"] == "deepseek-ai/DeepSeek-V3.1"
    daemon.client.restart_daemon()
    reset = until(stream, lambda frame: frame.event == "reset")
    assert set(reset.data["topics"]) == {"targets", "overview"}, "the new process knows nothing of the old one's frames"
    daemon.client.delete_target("deepseek-ai/DeepSeek-V3.1")
    assert until(stream, lambda frame: frame.data.get("op") == "remove").data["topic"] == "targets"
    stream.close()


def test_a_stream_that_is_cut_misses_nothing(shared_daemon: DaemonUnderTest) -> None:
    client = shared_daemon.client
    stream = client.stream_events("targets")
    first = next(stream)
    stream.close()
    client.put_target("Qwen/Qwen3-1.7B", {"replicas": 0})
    again = client.stream_events("targets", last_event_id=first.id)
    assert until(again, lambda frame: frame.event == "change").data["key"] == "Qwen/Qwen3-1.7B"
    again.close()
    client.delete_target("Qwen/Qwen3-1.7B")


def test_a_stream_that_is_refused_says_why(shared_daemon: DaemonUnderTest) -> None:
    with pytest.raises(InvalidInput, match="nonsense"):
        next(shared_daemon.client.stream_events("nonsense"))


def test_a_stream_gives_up_where_nobody_answers() -> None:
    with (
        ModelGridClient("http://127.0.0.1:9", "x") as client,
        pytest.raises(DaemonUnreachable),
    ):
        next(client.stream_events("overview", patience_seconds=0))


def until(stream: Any, fits: Callable[[Frame], bool]) -> Frame:
    found: Frame = next(frame for frame in stream if fits(frame))
    return found
