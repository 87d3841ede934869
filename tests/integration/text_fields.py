"""Request bodies with one text that is no text, in each place that the published document has a text for."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast

from modelgrid.api.app import create_app
from modelgrid.api.context import Services
from modelgrid.config.model import json_schema

Schema = Mapping[str, Any]


@cache
def document() -> dict[str, Any]:
    return create_app(cast("Services", None), "").openapi()


def bodies_with(bad: str) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Yield method, path, the place in the body, and the body. What config.json may have has its own schema."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            if "requestBody" not in operation:
                continue
            content = operation["requestBody"]["content"]["application/json"]
            name = content["schema"]["$ref"].rpartition("/")[2]
            schemas = document()["components"]["schemas"]
            schema: Schema = schemas[name]
            example = schema["examples"][0]
            if name == "ConfigPatch":
                schema, example = json_schema(), {}
                schemas = schema["$defs"]
            for place, body in _bad_at(schema, schemas, bad, example):
                yield method, path, place, body


def _bad_at(
    schema: Schema, schemas: Mapping[str, Schema], bad: str, around: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, Any]]:
    """Yield each place below `schema` that holds a text, and `around` with the bad one there; by default the smallest
    value."""
    if "$ref" in schema:
        yield from _bad_at(_referred(schema, schemas), schemas, bad)
    for option in schema.get("anyOf", ()):
        yield from _bad_at(option, schemas, bad)
    kind = schema.get("type")
    if kind == "string":
        yield "", bad
    elif kind == "array":
        for place, value in _bad_at(schema.get("items", {}), schemas, bad):
            yield f"[]{place}", [value]
    elif kind == "object":
        needed = around if around is not None else _least(schema, schemas)
        for name, inner in schema.get("properties", {}).items():
            for place, value in _bad_at(inner, schemas, bad):
                yield f".{name}{place}", {**needed, name: value}
        values = schema.get("additionalProperties", next(iter(schema.get("patternProperties", {}).values()), None))
        of_any_name = values if isinstance(values, dict) else {"type": "string"}
        yield ".{name}", {**needed, bad: _least(of_any_name, schemas)}
        for place, value in _bad_at(of_any_name, schemas, bad) if isinstance(values, dict) else ():
            key = next(iter(schema.get("propertyNames", {}).get("enum", ())), "MODEL")
            yield f".{{value}}{place}", {**needed, key: value}


def _least(schema: Schema, schemas: Mapping[str, Schema]) -> Any:
    """Return a small value that a schema allows, as far as texts without a pattern go."""
    if "$ref" in schema:
        return _least(_referred(schema, schemas), schemas)
    if "anyOf" in schema:
        return _least(schema["anyOf"][0], schemas)
    if schema.get("type") == "object":
        return {name: _least(schema["properties"][name], schemas) for name in schema.get("required", ())}
    simple = {"string": "x" * max(1, schema.get("minLength", 1)), "array": [], "boolean": False}
    number = max(1, schema.get("minimum", 1))
    return schema["enum"][0] if "enum" in schema else simple.get(str(schema.get("type")), number)


def _referred(schema: Schema, schemas: Mapping[str, Schema]) -> Schema:
    return schemas[schema["$ref"].rpartition("/")[2]]
