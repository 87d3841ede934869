"""Writes `docs/reference` from the code: the command line, config.json, the console API, the known engine failures;
the index of `docs/decisions`; and the generated half of `modelgrid.client`.

    .venv/bin/python docs/generate.py

`tests/unit/test_docs.py` compares the files with what this gives, so that they cannot fall behind.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from inspect import cleandoc
from pathlib import Path
from typing import Any, cast, get_args

import typer
from generate_client import modules

from modelgrid.api.app import create_app
from modelgrid.api.context import Services
from modelgrid.cli.main import COMMANDS, app, load
from modelgrid.config.model import json_schema
from modelgrid.decide.failure_rules import RULES

DOCS = Path(__file__).resolve().parent
REFERENCE = DOCS / "reference"
DECISIONS = DOCS / "decisions"
MADE = "<!-- Made by `make docs` from the code. Do not edit. -->\n"

_OF_THE_MACHINE: Mapping[tuple[str, ...], str] = {("service", "unit", "--user"): "the user who runs it"}
"""Defaults that differ between machines, in words."""
_VALUES = {"str": "TEXT", "int": "N", "float": "N", "Path": "PATH"}


def pages() -> dict[Path, str]:
    """Return the text of each generated file by its path."""
    return {
        REFERENCE / "cli.md": cli_page(),
        REFERENCE / "config.md": config_page(),
        REFERENCE / "api.md": api_page(),
        REFERENCE / "diagnoses.md": diagnoses_page(),
        DECISIONS / "README.md": decisions_page(),
    }


def client() -> dict[Path, str]:
    """Return the text of each generated module of `modelgrid.client` by its path."""
    return modules(_document())


def _document() -> dict[str, Any]:
    return create_app(cast("Services", None), "").openapi()


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    listed = [[_cell(cell) for cell in row] for row in rows]
    if not listed:
        return
    yield "| " + " | ".join(headings) + " |"
    yield "|" + "---|" * len(headings)
    for row in listed:
        yield "| " + " | ".join(row) + " |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# The command line


def cli_page() -> str:
    """Return the tree of commands with their arguments and options."""
    command = typer.main.get_command(app)
    out = [MADE, "# Command line", ""]
    out += [
        "Exit status: 0 ok, 1 failed, 2 usage (a refused configuration is one). Results go to standard output, what is",
        "said to a person to standard error. With `--json` a verb prints JSON for machines: one document, and one per",
        'line where it follows something. Verbs that list print `{"items": […]}`.',
        "",
        "Every verb also takes the options of `modelgrid` itself, before or after its name.",
        "",
        "## modelgrid",
        "",
        *_parameters(command, ()),
    ]
    for name in COMMANDS:
        out += _command(load(name), (name,))
    return "\n".join(out).rstrip() + "\n"


def _command(command: Any, path: tuple[str, ...]) -> Iterator[str]:
    yield f"{'#' * (1 + len(path))} modelgrid {' '.join(path)}"
    yield ""
    yield cleandoc(command.help or "")
    yield ""
    children = getattr(command, "commands", None)
    if children is None:
        yield f"    modelgrid {' '.join([*path, *_usage(command)])}"
        yield ""
        yield from _parameters(command, path)
        return
    for name, child in children.items():
        yield from _command(child, (*path, name))


def _usage(command: Any) -> Iterator[str]:
    shown = [item for item in command.params if not getattr(item, "hidden", False)]
    if any(_is_option(item) for item in shown):
        yield "[OPTIONS]"
    for item in shown:
        if not _is_option(item):
            name = item.name.upper() + ("…" if item.nargs == -1 else "")
            yield name if item.required else f"[{name}]"


def _is_option(item: Any) -> bool:
    return bool(item.opts[0].startswith("-"))


def _parameters(command: Any, path: tuple[str, ...]) -> Iterator[str]:
    shown = [item for item in command.params if not getattr(item, "hidden", False)]
    rows = [
        [
            ("**required** " if item.required and _is_option(item) else "") + _names(item),
            _default(item, path),
            (item.help or "") + (f" (`${item.envvar}`)" if item.envvar else ""),
        ]
        for item in shown
    ]
    return _table(("argument or option", "default", "meaning"), rows)


def _names(item: Any) -> str:
    if not _is_option(item):
        return f"`{item.name.upper()}`"
    value = "" if item.is_flag else f" {_value(item)}"
    names = [f"`{name}{value}`" for name in sorted([*item.opts, *item.secondary_opts], key=lambda name: -len(name))]
    return ", ".join(names)


def _value(item: Any) -> str:
    annotation = item.type_descriptor.annotation
    inner = next(iter(get_args(annotation)), annotation)
    if isinstance(inner, type) and issubclass(inner, Enum):
        return "|".join(str(member.value) for member in inner)
    return _VALUES.get(getattr(inner, "__name__", "str"), "TEXT")


def _default(item: Any, path: tuple[str, ...]) -> str:
    if known := _OF_THE_MACHINE.get((*path, item.opts[0])):
        return known
    if isinstance(item.show_default, str):
        return f"`{item.show_default}`"
    if item.default is None or item.default is False:
        return ""
    return "yes" if item.default is True else f"`{item.default}`"


# config.json


def config_page() -> str:
    """Return every key of config.json with its type, default and meaning."""
    schema = json_schema()
    definitions = schema["$defs"]
    out = [
        MADE,
        "# config.json",
        "",
        "Keys, types and defaults. An unknown key, a wrong type or a port clash is refused as a whole (exit status 2);",
        "`modelgrid config validate` checks a file, and `modelgrid config schema` prints the JSON Schema that this is",
        "made from.",
        "How to use them: [configuration](../operate/configuration.md).",
        "",
        "## The top level",
        "",
    ]
    plain = {name: value for name, value in schema["properties"].items() if _section(value) is None}
    out += _keys(plain, definitions, set(schema.get("required", ())))
    for name, value in schema["properties"].items():
        section = _section(value)
        if section is None:
            continue
        listed = value.get("type") == "array"
        definition = definitions[section]
        out += [f"## {name}{'[]' if listed else ''}", ""]
        if listed and definition.get("description"):
            out += [definition["description"], ""]
        out += _keys(definition["properties"], definitions, set(definition.get("required", ())))
    return "\n".join(out).rstrip() + "\n"


def _section(value: Mapping[str, Any]) -> str | None:
    reference = value.get("$ref") or value.get("items", {}).get("$ref")
    return reference.rpartition("/")[2] if reference else None


def _keys(properties: Mapping[str, Any], definitions: Mapping[str, Any], required: set[str]) -> Iterator[str]:
    rows = [
        [
            f"`{name}`" + (" **required**" if name in required else ""),
            _type(value, definitions),
            f"`{json.dumps(value['default'])}`" if "default" in value else "",
            value.get("description", ""),
        ]
        for name, value in properties.items()
    ]
    return _table(("key", "type", "default", "meaning"), rows)


def _type(value: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:  # noqa: PLR0911  one per form of a schema
    if "$ref" in value:
        return _definition(definitions[value["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in value:
        return ", or ".join(_type(item, definitions) for item in value["anyOf"])
    if "enum" in value:
        return ", ".join(f"`{item}`" for item in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    kind = value.get("type", "any")
    if kind == "array":
        return f"list of {_type(value.get('items', {}), definitions)}"
    if kind == "object":
        return f"object of {_type(value.get('additionalProperties') or {}, definitions)}{_property_names(value)}"
    return str(kind) + _bounds(value)


def _definition(definition: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "enum" in definition:
        return _type(definition, definitions)
    members = definition["properties"].items()
    return "{" + ", ".join(f"`{name}`: {_type(value, definitions)}" for name, value in members) + "}"


def _property_names(value: Mapping[str, Any]) -> str:
    names = value.get("propertyNames", {}).get("enum")
    return f" by {', '.join(f'`{name}`' for name in names)}" if names else ""


def _bounds(value: Mapping[str, Any]) -> str:
    low, high = value.get("minimum"), value.get("maximum")
    if low is not None and high is not None:
        return f" {low:g} to {high:g}" if high < 10_000 else f" {low} to {high}"
    if "exclusiveMinimum" in value:
        return f" above {value['exclusiveMinimum']:g}" + (f", to {high:g}" if high is not None else "")
    return f" from {low:g}" if low is not None else ""


# The console API


def api_page() -> str:
    """Return the routes of the console API with their parameters and request bodies."""
    document = _document()
    schemas = document["components"]["schemas"]
    out = [
        MADE,
        "# Console API",
        "",
        f"{document['info']['description']} All paths are on `api.uiPort` (8081) and want `Authorization: Bearer` with",
        "the token in the file `token` of the state directory, except `/v1/_ui/health`. The machine-readable form is",
        "`/v1/_ui/openapi.json`. How it behaves: [the console API](../architecture/api.md).",
        "",
    ]
    by_tag: dict[str, list[list[str]]] = {}
    bodies: list[str] = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            body = _body_name(operation)
            if body and body not in bodies:
                bodies.append(body)
            asked = [_parameter(item, schemas) for item in operation.get("parameters", ())]
            asked += [f"body: [{body}](#{body.lower()})"] if body else []
            said = operation.get("description") or operation["summary"].capitalize() + "."
            by_tag.setdefault(operation["tags"][0], []).append(
                [f"`{method.upper()} {path}`", said, ", ".join(filter(None, asked)), _answer(operation)]
            )
    for tag, rows in by_tag.items():
        out += [f"## {tag}", "", *_table(("call", "what it does", "parameters", "answer"), rows)]
    out += ["## Request bodies", ""]
    for body in bodies:
        schema = schemas[body]
        out += [f"### {body}", ""]
        if schema.get("description"):
            out += [" ".join(schema["description"].split()), ""]
        out += _keys(schema.get("properties", {}), schemas, set(schema.get("required", ())))
    return "\n".join(out).rstrip() + "\n"


def _parameter(item: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    if item["in"] == "path":
        values = item["schema"].get("enum")
        return f"`{item['name']}`: {', '.join(f'`{value}`' for value in values)}" if values else ""
    name = "If-Match" if item["name"] == "if-match" else item["name"]
    default = item["schema"].get("default")
    return f"`{name}`" + (f" ({json.dumps(default)})" if default is not None else "")


def _body_name(operation: Mapping[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]


def _answer(operation: Mapping[str, Any]) -> str:
    status, response = next((code, item) for code, item in operation["responses"].items() if code[0] == "2")
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    return f"{status} {name}".strip()


# Known failures


def diagnoses_page() -> str:
    """Return every known failure of engines with its cause, its remedy and whether it is tried again."""
    out = [
        MADE,
        "# Known engine failures",
        "",
        "When an engine fails, its exit, its last log lines and the runtime's words are compared with these, in this",
        "order; the first that matches is the diagnosis. `modelgrid container show DEPLOYMENT` shows it with the line",
        "that told it. Words in braces come from that line. What is not tried again waits for you: mend it, then",
        "`modelgrid container start DEPLOYMENT`.",
        "",
    ]
    rows = [
        [
            f"`{rule.code}`",
            rule.cause,
            rule.remedy + (f" Without that number: {rule.remedy_else}" if rule.remedy_else else ""),
            "yes" if rule.retry else "no",
        ]
        for rule in RULES
    ]
    out += _table(("code", "cause", "remedy", "tried again"), rows)
    return "\n".join(out).rstrip() + "\n"


# The index of decisions


def decisions_page() -> str:
    """Return the index of `docs/decisions`, from the first line of each."""
    out = [
        MADE,
        "# Decisions",
        "",
        "One file per decision that was worth an argument: the context, what was decided, what was rejected, and what",
        "follows. A decision that is overturned stays, with a note that names its successor.",
        "",
    ]
    rows = []
    for path in sorted(DECISIONS.glob("[0-9]*.md")):
        number, _, title = path.read_text().partition("\n")[0].removeprefix("# ").partition(": ")
        rows.append([f"[{number}]({path.name})", title[:1].upper() + title[1:]])
    out += _table(("number", "decision"), rows)
    return "\n".join(out).rstrip() + "\n"


def main() -> None:
    _write(client())  # the command line, which the pages are made from, needs it
    _write(pages())


def _write(texts: Mapping[Path, str]) -> None:
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            sys.stdout.write(f"{path} written\n")


if __name__ == "__main__":
    main()
