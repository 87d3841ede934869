"""The published OpenAPI document says all that a caller needs."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from modelgrid.api import access, config, membership, sessions, stream, targets, tokens
from modelgrid.api.app import create_app
from modelgrid.api.context import Services
from modelgrid.api.elsewhere import NodeUnreachable
from modelgrid.api.errors import ErrorView
from modelgrid.api.openapi import EXAMPLES, OPEN, TAGS, THROTTLED
from modelgrid.api.openapi_examples import MEMBERS, OF_CALLS, OF_ONE
from modelgrid.api.openapi_words import ETAGGED, FRAMES, FURTHER, OF_ONE_CALL, PARAMETERS, REFUSALS
from modelgrid.config.change import merge
from modelgrid.config.model import Config
from modelgrid.decide.access import refusal
from modelgrid.domain.errors import (
    ControlPlaneUnreachable,
    InvitationRefused,
    LaunchRefused,
    Misdirected,
    ModelGridError,
    NotFound,
    PreconditionFailed,
    StoreUnavailable,
)
from modelgrid.services.stream.hub import TooManyStreams


@cache
def document() -> dict[str, Any]:
    return create_app(cast("Services", None), "").openapi()


OPERATIONS = [(method, path, item) for path, methods in document()["paths"].items() for method, item in methods.items()]
each = pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[f"{method} {path}" for method, path, _ in OPERATIONS]
)


@each
def test_an_operation_is_described(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation.get("description"), "its function needs a docstring"
    assert 3 < len(operation["summary"]) <= 120, operation["summary"]
    assert operation["tags"][0] in TAGS
    assert "default" in operation["responses"]


@each
def test_refusals_are_in_the_one_shape(method: str, path: str, operation: dict[str, Any]) -> None:
    refusals = {status: item for status, item in operation["responses"].items() if status[0] in "45d"}
    for status, response in refusals.items():
        schema = response["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorView"}, status
    assert ("401" in refusals) == ((method, path) not in OPEN or method == "post")
    assert ("404" in refusals) == ("{" in path or operation["operationId"] in ("list_logs", "preview_target"))
    assert {"400", "421"} <= refusals.keys()
    assert ("507" in refusals) == (method != "get")


@each
def test_parameters_headers_and_refusals_are_told(method: str, path: str, operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        assert parameter.get("description") or parameter["schema"].get("description"), parameter["name"]
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    answers = operation["responses"]
    if method == "get" and "200" in answers:
        assert "X-Event-Id" in answers["200"]["headers"]
    if "if-match" in names and method != "delete":
        assert "ETag" in answers["200"]["headers"], "what was changed under a condition has a new one"
    assert ("429" in answers) == ((method, path) in THROTTLED)
    for status, response in answers.items():
        if status in REFUSALS:
            example = response["content"]["application/json"].get("example")
            if example is not None:
                ErrorView.model_validate(example)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("list_logs", NotFound),
        ("list_logs", NodeUnreachable),
        ("deployment_logs", NodeUnreachable),
        ("deployment_metrics", NodeUnreachable),
        ("join_cluster", ControlPlaneUnreachable),
        ("join_cluster", InvitationRefused),
        ("preview_target", NotFound),
        ("stream_events", TooManyStreams),
        ("list_audit", StoreUnavailable),
        ("list_history", StoreUnavailable),
        ("list_events", StoreUnavailable),
        ("patch_config", PreconditionFailed),
        ("put_target", LaunchRefused),
        ("show_session", Misdirected),
    ],
)
def test_what_an_operation_raises_is_among_its_answers(call: str, error: type[ModelGridError]) -> None:
    (operation,) = [item for _, _, item in OPERATIONS if item["operationId"] == call]
    assert str(error.status) in operation["responses"]


def test_every_frame_of_the_stream_has_a_schema_and_an_example() -> None:
    schemas = document()["components"]["schemas"]
    content = document()["paths"]["/v1/_ui/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    named = {option["$ref"].rpartition("/")[2] for option in content["schema"]["anyOf"]}
    assert named == set(FRAMES)
    for name in named:
        (example,) = schemas[name]["examples"]
        getattr(stream, name).model_validate(example)


@each
def test_who_may_call_is_what_the_decision_says(method: str, path: str, operation: dict[str, Any]) -> None:
    is_open = refusal(None, method.upper(), path) is None
    assert is_open == ((method, path) in OPEN) == (operation.get("security") == [])


def test_nothing_is_said_of_what_is_not_there() -> None:
    calls = {operation["operationId"]: operation for _, _, operation in OPERATIONS}
    used = {(call, parameter["name"]) for call in calls for parameter in calls[call].get("parameters", ())}
    assert set(OF_ONE_CALL) <= used
    assert set(PARAMETERS) <= {name for _, name in used}
    assert set(calls) >= ETAGGED | set(FURTHER)


def test_operation_ids_are_distinct() -> None:
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(ids) == len(set(ids))


def test_every_body_has_an_example_that_it_takes() -> None:
    bodies = {
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for _, _, operation in OPERATIONS
        if "requestBody" in operation
    }
    assert bodies == set(EXAMPLES)
    for name in bodies:
        model = next(
            getattr(module, name)
            for module in (access, config, membership, sessions, targets, tokens)
            if hasattr(module, name)
        )
        TypeAdapter(model).validate_json(TypeAdapter(Any).dump_json(EXAMPLES[name]))
    patched = merge({}, EXAMPLES["ConfigPatch"])
    Config.model_validate_json(TypeAdapter(Any).dump_json(patched))


def _answers() -> Iterator[APIRoute]:
    """Yield the routes that are in the document."""
    waiting = list(create_app(cast("Services", None), "").routes)
    while waiting:
        route = waiting.pop()
        if isinstance(route, APIRoute) and route.include_in_schema:
            yield route
        elif (included := getattr(route, "original_router", None)) is not None:
            waiting += included.routes


def test_every_answer_has_an_example_that_it_could_be() -> None:
    """Read by the answer's model and written again it is the same: nothing is missing, too much or of another type."""
    schemas, seen = document()["components"]["schemas"], set()
    for route in _answers():
        name = getattr(route.response_model, "__name__", "")
        if name not in schemas:
            continue
        seen.add(name)
        (example,) = schemas[name]["examples"]
        model: TypeAdapter[Any] = TypeAdapter(route.response_model)
        assert model.dump_python(model.validate_json(json.dumps(example)), mode="json", by_alias=True) == example, name
    named = {
        content["schema"]["$ref"].rpartition("/")[2]
        for _, _, operation in OPERATIONS
        for status, answer in operation["responses"].items()
        for content in answer.get("content", {}).values()
        if status[0] == "2" and "$ref" in content.get("schema", {})
    }
    assert seen == named
    assert len(seen) > 40


def test_words_of_examples_are_used() -> None:
    members = {
        (name, member)
        for name, schema in document()["components"]["schemas"].items()
        for member in schema.get("properties", ())
    }
    assert set(OF_ONE) <= members
    assert set(MEMBERS) <= {member for _, member in members}
    assert set(OF_CALLS) <= {operation["operationId"] for _, _, operation in OPERATIONS}
