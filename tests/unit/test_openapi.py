"""The published OpenAPI document says all that a caller needs."""

from functools import cache
from typing import Any, cast

import pytest
from pydantic import TypeAdapter

from modelgrid.api import access, config, membership, sessions, targets, tokens
from modelgrid.api.app import create_app
from modelgrid.api.context import Services
from modelgrid.api.openapi import EXAMPLES, OPEN, TAGS
from modelgrid.config.change import merge
from modelgrid.config.model import Config
from modelgrid.decide.access import refusal


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
    assert ("404" in refusals) == ("{" in path)
    assert ("507" in refusals) == (method != "get")


@each
def test_who_may_call_is_what_the_decision_says(method: str, path: str, operation: dict[str, Any]) -> None:
    is_open = refusal(None, method.upper(), path) is None
    assert is_open == ((method, path) in OPEN) == (operation.get("security") == [])


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
