"""What nodes tell each other, every member set: recorded for each minor version in `tests/fixtures/wire`.

    python tests/contract/wire_messages.py

writes what this version sends, and the schema of what it takes. Do so when a member was added, which needs a default.
The files of an earlier minor version are never written anew: its daemons are out there.
"""

import enum
import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

import msgspec

from modelgrid import __version__
from modelgrid.domain.cluster import IntroducedCall, Introduction, JoinCall, Orders, Report, SharedRouting, Welcome

FOLDER = Path(__file__).parents[1] / "fixtures" / "wire"
MINOR = ".".join(__version__.split(".")[:2])
TO_CONTROL: dict[str, type] = {"join_call": JoinCall, "introduced_call": IntroducedCall, "report": Report}
TO_NODES: dict[str, type] = {
    "introduction": Introduction,
    "welcome": Welcome,
    "orders": Orders,
    "shared_routing": SharedRouting,
}
MESSAGES = TO_CONTROL | TO_NODES
SCHEMA = "schema"
"""Name of the file that has the schemas."""


def full(kind: Any, name: str = "") -> Any:  # noqa: PLR0911  one for each kind of type
    """Return a value of a type with every member of it set, and none to its default."""
    if isinstance(kind, NewType):
        return full(kind.__supertype__, name)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{item.name: _other(item, full(hints[item.name], item.name)) for item in fields(kind)})
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return full(next(one for one in inside if one is not types.NoneType), name)
    if origin is tuple:
        parts = inside[:1] if inside[-1] is Ellipsis else inside
        return tuple(full(part, name) for part in parts)
    if origin in (dict, Mapping):
        return {"key": full(inside[1], name)}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return list(kind)[-1]
    return {str: name, int: 7, float: 1.5, bool: True, Any: {"free": 5, "gpus": ["nvidia-0"], "none": None}}[kind]


def least(kind: Any, name: str = "") -> Any:
    """Return a dataclass' value with only those members set that have no default."""
    hints = get_type_hints(kind)
    needed = [item.name for item in fields(kind) if not optional(item)]
    return kind(**{item: (least if is_dataclass(hints[item]) else full)(hints[item], item) for item in needed})


def as_json(value: Any, *, only_needed: bool = False, further: Mapping[str, Any] | None = None) -> Any:
    """Return a message as JSON has it: without its optional members, or with `further` ones in every object of it."""
    inside = partial(as_json, only_needed=only_needed, further=further)
    if is_dataclass(value) and not isinstance(value, type):
        said = [item for item in fields(value) if not (only_needed and optional(item))]
        return {item.name: inside(getattr(value, item.name)) for item in said} | dict(further or {})
    if isinstance(value, tuple):
        return [inside(item) for item in value]
    if isinstance(value, dict):
        return {key: inside(item) for key, item in value.items()}
    return value


def optional(item: "Field[Any]") -> bool:
    return item.default is not MISSING or item.default_factory is not MISSING


def _other(item: "Field[Any]", value: Any) -> Any:
    return not value if isinstance(value, bool) and value == item.default else value


def sent(name: str) -> Any:
    """Return a message as this version sends it, decoded to what JSON has."""
    return json.loads(msgspec.json.encode(full(MESSAGES[name])))


def schemas() -> dict[str, Any]:
    """Return what this version reads and writes: for each object and enumeration that travels, its JSON schema."""
    _, components = msgspec.json.schema_components(MESSAGES.values(), ref_template="{name}")
    return {name: _without_words(json.loads(json.dumps(schema))) for name, schema in sorted(components.items())}


def _without_words(schema: Any) -> Any:
    if isinstance(schema, dict):
        words = ("title", "description") if isinstance(schema.get("title"), str) else ()
        return {key: _without_words(inside) for key, inside in schema.items() if key not in words}
    return [_without_words(item) for item in schema] if isinstance(schema, list) else schema


def misunderstandings(writes: Mapping[str, Any], reads: Mapping[str, Any]) -> list[str]:
    """Return why a version that `reads` by these schemas would not understand one that `writes` by those."""
    found = []
    for name in sorted(writes.keys() & reads.keys()):
        theirs, ours = writes[name], reads[name]
        known = ours.get("enum", ())
        found += [f"{name}: {value!r} is not known" for value in theirs.get("enum", ()) if value not in known]
        said, understood = theirs.get("properties", {}), ours.get("properties", {})
        found += [
            f"{name}.{member} is needed and not said" for member in ours.get("required", ()) if member not in said
        ]
        found += [
            f"{name}.{member} is of another type"
            for member in said.keys() & understood.keys()
            if _type(said[member]) != _type(understood[member])
        ]
    return found


def _type(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "default"}


def recorded(minor: str, name: str) -> Any:
    return json.loads((FOLDER / minor / f"{name}.json").read_text())


def main() -> None:
    (FOLDER / MINOR).mkdir(parents=True, exist_ok=True)
    for name, value in {**{name: sent(name) for name in MESSAGES}, SCHEMA: schemas()}.items():
        (FOLDER / MINOR / f"{name}.json").write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    print(f"written: {FOLDER / MINOR}")


if __name__ == "__main__":
    main()
