"""The Python client: every operation of the document has a method, and bytes of a stream become frames."""

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any, cast, get_type_hints

import pytest

from modelgrid.api.app import create_app
from modelgrid.api.context import Services
from modelgrid.client import views
from modelgrid.client.http import ModelGridClient
from modelgrid.client.stream import Frame, frames

DOCUMENT = create_app(cast("Services", None), "").openapi()
OPERATIONS = {
    operation["operationId"]: operation for methods in DOCUMENT["paths"].values() for operation in methods.values()
}
ELSEWHERE = {
    ("list_logs", "format"): "export_logs",
    ("stream_events", "Last-Event-ID"): "stream_events",
}
"""Parameters that are no argument of the operation's method, and the method that minds them."""


def names_of(item: dict[str, Any]) -> str:
    return str(item["name"]).replace("-", "_")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_has_a_typed_method(operation: str) -> None:
    method = getattr(ModelGridClient, operation)
    described = OPERATIONS[operation]
    parameters = [p for p in described.get("parameters", ()) if (operation, p["name"]) not in ELSEWHERE]
    wanted = {names_of(item) for item in parameters} | ({"body"} if "requestBody" in described else set())
    signature = inspect.signature(method)
    taken = {name: item for name, item in signature.parameters.items() if name != "self"}
    assert wanted <= taken.keys()
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(item.annotation is not inspect.Parameter.empty for item in taken.values())
    required = {names_of(item) for item in parameters if item.get("required")} | ({"body"} & wanted)
    assert {name for name, item in taken.items() if item.default is inspect.Parameter.empty} == required
    assert method.__doc__


def test_what_is_elsewhere_is_there() -> None:
    for (operation, parameter), method in ELSEWHERE.items():
        assert any(item["name"] == parameter for item in OPERATIONS[operation]["parameters"])
        assert callable(getattr(ModelGridClient, method))


def test_every_answer_that_the_document_describes_has_a_type() -> None:
    for operation, described in OPERATIONS.items():
        (answer,) = [item for status, item in described["responses"].items() if status[0] == "2"]
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        if name := schema.get("$ref", "").rpartition("/")[2]:
            hints = get_type_hints(getattr(ModelGridClient, operation), vars(views))
            assert hints["return"] is getattr(views, name)
            assert (
                get_type_hints(hints["return"]).keys() == DOCUMENT["components"]["schemas"][name]["properties"].keys()
            )


def frame_bytes(number: int) -> bytes:
    data = json.dumps({"topic": "overview", "op": "replace", "key": "overview", "value": "a: b\n\nc"})
    return f"id: e-{number}\nevent: change\ndata: {data}\n\n".encode()


def cut(text: bytes, size: int) -> Iterator[bytes]:
    yield from (text[place : place + size] for place in range(0, len(text), size))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_frames_are_found_however_the_bytes_are_cut(size: int) -> None:
    text = frame_bytes(1) + b": a comment\n\n" + frame_bytes(2) + frame_bytes(3)[:-1]
    found = list(frames(cut(text, size)))
    assert [frame.id for frame in found] == ["e-1", "e-2"], "what is not whole at the end is no frame"
    assert all(frame.data["value"] == "a: b\n\nc" for frame in found)


@pytest.mark.parametrize(
    "change", [lambda text: text.replace(b"change", b"chango"), lambda text: text.replace(b"{", b"[")]
)
def test_frames_of_something_else_are_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ValueError, match=r"chango|malformed|JSON"):
        list(frames(iter([change(frame_bytes(1))])))


def test_a_frame_can_be_made_only_of_what_the_stream_sends() -> None:
    assert set(get_type_hints(Frame)["event"].__args__) == {"hello", "change", "beat", "reset", "lagged"}
