"""Writes the generated half of `modelgrid.client` from the OpenAPI document: a type of every body and answer
(`views.py`), and a method of every operation (`calls.py`). `docs/generate.py` runs it."""

import keyword
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CLIENT = Path(__file__).resolve().parents[1] / "src/modelgrid/client"
MADE = "# Made by `make docs` from the OpenAPI document. Do not edit."
PREFIX = "/v1/_ui"
WIDTH = 120
STREAM = "text/event-stream"

_SIMPLE: Mapping[str, str] = {
    "string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None",
}  # fmt: skip
_HEADERS: Mapping[str, tuple[str, str]] = {"if-match": ("if_match", "str | int")}
"""Headers that are arguments. `Last-Event-ID` is none: `events` minds it."""
_ASIDE: Mapping[str, frozenset[str]] = {"list_logs": frozenset({"format"})}
"""Parameters that change the kind of an answer, each with a method written by hand (`export_logs`)."""


def modules(document: Mapping[str, Any]) -> dict[Path, str]:
    """Return the text of each generated module by its path."""
    return {CLIENT / "views.py": _views(document), CLIENT / "calls.py": _calls(document)}


# Types


def _views(document: Mapping[str, Any]) -> str:
    schemas = document["components"]["schemas"]
    given = _reached(schemas, [_body(operation) for *_, operation in _operations(document)])
    out = [
        MADE,
        '"""What the console API takes and answers, as types."""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Any, Literal, NotRequired, TypedDict",
        "",
    ]
    for name in sorted(schemas):
        out += ["", *_type(name, schemas[name], all_there=name not in given), ""]
    return "\n".join(out).rstrip() + "\n"


def _type(name: str, schema: Mapping[str, Any], *, all_there: bool) -> Iterator[str]:
    """Yield the lines of one type. An answer has all its keys; of a body those with a default may be left out."""
    if "enum" in schema or schema.get("type") != "object" or schema.get("additionalProperties") is True:
        yield from _alias(_class(name), _annotation(schema))
        return
    fields = schema.get("properties", {})
    required = set(fields if all_there else schema.get("required", ()))
    unspeakable = [field for field in fields if not field.isidentifier() or keyword.iskeyword(field)]
    if unspeakable:
        raise ValueError(f"{name} has keys that are no names in Python: {unspeakable}")
    yield f"class {_class(name)}(TypedDict):"
    said = schema.get("description", "")
    if said:
        yield from _docstring(said, "    ")
        yield ""
    for field, of in fields.items():
        kind = _annotation(of)
        yield f"    {field}: {kind if field in required else f'NotRequired[{kind}]'}"


def _alias(name: str, annotation: str) -> Iterator[str]:
    line = f"{name} = {annotation}"
    if len(line) <= WIDTH or not annotation.startswith("Literal["):
        yield line
        return
    yield f"{name} = Literal["
    inner = annotation.removeprefix("Literal[").removesuffix("]")
    yield from textwrap.wrap(f"{inner},", WIDTH, initial_indent="    ", subsequent_indent="    ")
    yield "]"


def _annotation(schema: Mapping[str, Any]) -> str:
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    options = schema.get("anyOf") or schema.get("oneOf")
    kind = schema.get("type")
    if "$ref" in schema:
        found = _class(schema["$ref"].rpartition("/")[2])
    elif values:
        found = f"Literal[{', '.join(map(_quoted, values))}]"
    elif options:
        found = " | ".join(dict.fromkeys(map(_annotation, options)))
    elif kind == "array" and "prefixItems" in schema:
        found = f"tuple[{', '.join(map(_annotation, schema['prefixItems']))}]"
    elif kind == "array":
        found = f"list[{_annotation(schema.get('items', {}))}]"
    elif kind == "object":
        inner = schema.get("additionalProperties", True)
        found = f"dict[str, {'Any' if inner is True else _annotation(inner)}]"
    else:
        found = _SIMPLE[kind] if kind else "Any"
    return found


def _class(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("-"))


def _quoted(value: object) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if isinstance(value, str) else repr(value)


def _reached(schemas: Mapping[str, Any], roots: list[Mapping[str, Any] | None]) -> set[str]:
    """Return the names of the schemas that `roots` refer to, over others, too."""
    found: set[str] = set()
    waiting = [name for root in roots if root for name in _refs(root)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _refs(schemas[name])
    return found


def _refs(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            yield schema["$ref"].rpartition("/")[2]
        for value in schema.values():
            yield from _refs(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _refs(value)


# Methods


def _calls(document: Mapping[str, Any]) -> str:
    body: list[str] = []
    for method, path, operation in _operations(document):
        if _kind(operation) != STREAM:  # written by hand: `events`
            body += ["", *_method(method, path, operation)]
    text = "\n".join(body)
    used = sorted(name for name in map(_class, document["components"]["schemas"]) if _names(text, name))
    out = [
        MADE,
        '"""One method per operation of the console API."""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import TYPE_CHECKING, Any, Literal",
        "",
        "from modelgrid.client.transport import Transport, part, path",
        "",
        "if TYPE_CHECKING:",
        "    from modelgrid.client.views import (",
        *(f"        {name}," for name in used),
        "    )",
        "",
        "",
        "class Calls(Transport):",
        '    """Every operation by its id. What is left out takes the default that the document names."""',
    ]
    return "\n".join(out) + "\n" + text + "\n"


def _names(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w\"]){name}\b", text) is not None


def _method(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    name = operation["operationId"]
    given, named, query = ["self"], [], []
    extra = ""
    for item in operation.get("parameters", ()):
        kind = _annotation(item["schema"])
        if item["in"] == "path":
            given.append(f"{item['name']}: {kind}")
        elif item["in"] == "header":
            argument, kind = _HEADERS[item["name"]]
            named.append(f"{argument}: {kind} | None = None")
            extra += f", {argument}={argument}"
        elif item["name"] not in _ASIDE.get(name, ()):
            named.append(f"{item['name']}: {kind}" + ("" if item.get("required") else " | None = None"))
            query.append(item["name"])
    if schema := _body(operation):
        given.append(f"body: {_annotation(schema)}")
        extra = f", body=body{extra}"
    if query:
        extra = ", query={" + ", ".join(f'"{item}": {item}' for item in query) + "}" + extra
    returned = _returned(operation)
    where = _address(path)
    yield from _signature(name, [*given, *(["*", *named] if named else [])], returned)
    yield from _docstring(operation.get("description") or operation["summary"].capitalize() + ".", "        ")
    call = f'("{method.upper()}", {where}{extra})'
    if returned == "None":
        yield from _fitting(f"self._do{call}")
    elif _kind(operation) == "text/plain":
        yield from _fitting(f"return self._text{call}")
    else:
        yield from _fitting(f"answer: {returned} = self._json{call}")
        yield "        return answer"


def _fitting(line: str) -> Iterator[str]:
    if len(line) + 8 <= WIDTH:
        yield f"        {line}"
        return
    head, _, rest = line.partition("(")
    yield f"        {head}("
    for word in _arguments(rest.removesuffix(")")):
        name, equals, entries = word.partition("={")
        if not equals or len(word) + 13 <= WIDTH:
            yield f"            {word},"
            continue
        yield f"            {name}={{"
        yield from (f"                {entry}," for entry in _arguments(entries.removesuffix("}")))
        yield "            },"
    yield "        )"


def _arguments(text: str) -> list[str]:
    """Split at the commas that stand in no bracket."""
    depth, begin, found = 0, 0, []
    for place, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            found.append(text[begin:place].strip())
            begin = place + 1
    return [*found, text[begin:].strip()]


def _signature(name: str, arguments: list[str], returned: str) -> Iterator[str]:
    line = f"    def {name}({', '.join(arguments)}) -> {returned}:"
    if len(line) <= WIDTH:
        yield line
        return
    yield f"    def {name}("
    yield from (f"        {argument}," for argument in arguments)
    yield f"    ) -> {returned}:"


def _docstring(text: str, indent: str) -> Iterator[str]:
    paragraphs = [" ".join(part.split()) for part in text.replace("\\", "\\\\").split("\n\n")]
    lines: list[str] = []
    for number, part in enumerate(paragraphs):
        lines += [""] if number else []
        lines += textwrap.wrap(part, WIDTH - len(indent) - 3, break_long_words=False, break_on_hyphens=False)
    lines[0] = f'"""{lines[0]}'
    if len(lines) == 1 and len(lines[0]) + len(indent) + 3 <= WIDTH:
        lines[0] += '"""'
    else:
        lines.append('"""')
    yield from (f"{indent}{line}".rstrip() for line in lines)


def _address(path: str) -> str:
    """Return the path as an expression. Ids of models have slashes, which stay."""
    shown = path.removeprefix(PREFIX)
    if "{" not in shown:
        return f'"{shown}"'
    quoted = re.sub(r"\{(\w+)\}", lambda found: f"{{{'path' if found[1] == 'model' else 'part'}({found[1]})}}", shown)
    return f'f"{quoted}"'


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def _body(operation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    content = operation.get("requestBody", {}).get("content", {})
    schema: Mapping[str, Any] | None = content.get("application/json", {}).get("schema")
    return schema


def _content(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(item for code, item in operation["responses"].items() if code[0] == "2")
    content: Mapping[str, Any] = found.get("content", {})
    return content


def _kind(operation: Mapping[str, Any]) -> str:
    return next(iter(_content(operation)), "")


def _returned(operation: Mapping[str, Any]) -> str:
    kind = _kind(operation)
    if not kind:
        return "None"
    return "str" if kind == "text/plain" else _annotation(_content(operation)[kind].get("schema", {}))
