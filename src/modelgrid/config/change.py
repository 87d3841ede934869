"""Changes of `config.json`: merge patches, and what differs between two configurations. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelgrid.config.file import dump, parse_config, set_value
from modelgrid.config.keys import APPLIES, Applies, value_at
from modelgrid.config.model import REDACTED, SECRET_PATHS, Config, redacted
from modelgrid.domain.errors import InvalidConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One key that differs. Secrets are redacted: a changed one reads the same before and after."""

    path: str
    before: Any
    after: Any
    restart_required: bool


def resolved(config: Config) -> dict[str, Any]:
    """Return the whole document with defaults, secrets included."""
    document: dict[str, Any] = config.model_dump(mode="json", by_alias=True)
    return document


def changes(before: Config, after: Config) -> tuple[Change, ...]:
    """Return the keys whose values differ, in the order of the file."""
    one, other = resolved(before), resolved(after)
    one_shown, other_shown = redacted(one), redacted(other)
    return tuple(
        Change(
            path=key,
            before=value_at(one_shown, key),
            after=value_at(other_shown, key),
            restart_required=applies is Applies.RESTART,
        )
        for key, applies in APPLIES.items()
        if value_at(one, key) != value_at(other, key)
    )


def with_keys(base: Config, source: Config, keys: Iterable[str]) -> Config:
    """Return `base` with the named keys as `source` has them. Raises `InvalidConfig` when that is no configuration."""
    document, given = resolved(base), resolved(source)
    for key in keys:
        document = set_value(document, key, value_at(given, key))
    return parse_config(dump(document), source="config.json")


def merge(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return `document` with a JSON merge patch applied (RFC 7396). Keys keep their order; null removes a key."""
    merged = dict(document)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            present = merged.get(key)
            merged[key] = merge(present if isinstance(present, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def keep_secrets(merged: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return `merged` with every redacted placeholder replaced by the secret that `before` has in its place.

    Raises `InvalidConfig` for one that stands for nothing: a placeholder must never become the secret."""
    kept: dict[str, Any] = json.loads(json.dumps(merged))
    for section, key in SECRET_PATHS:
        if _is_placeholder(kept.get(section), key):
            known = before.get(section)
            if not isinstance(known, Mapping) or key not in known:
                raise _stands_for_nothing(f"{section}.{key}")
            kept[section] = {**kept[section], key: known[key]}
    environments = {_name(container): container["env"] for container in _containers(before)}
    for index, container in enumerate(_containers(kept, every=True)):
        env: dict[str, Any] = container.get("env", {})
        known = environments.get(_name(container), {})
        for name in [name for name in env if _is_placeholder(env, name)]:
            if name not in known:
                raise _stands_for_nothing(f"containers.{index}.env.{name}")
            env[name] = known[name]
    return kept


def _name(container: Mapping[str, Any]) -> str:
    name = container.get("name")
    return name if isinstance(name, str) else ""


def _is_placeholder(section: Any, key: str) -> bool:
    return isinstance(section, Mapping) and section.get(key) == REDACTED


def _containers(document: Mapping[str, Any], *, every: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the containers of a document that was not checked; without `every` those that have an environment."""
    listed = document.get("containers")
    for container in listed if isinstance(listed, list) else ():
        if isinstance(container, dict) and isinstance(container.get("env"), dict):
            yield container
        elif every:
            yield {}


def _stands_for_nothing(path: str) -> InvalidConfig:
    expected = "the secret itself; the placeholder stands for one that is stored, and none is"
    problem = {"path": path, "value": REDACTED, "expected": expected}
    return InvalidConfig(f"{path} is refused: {expected}.", fix="Type the secret anew.", problems=[problem])
