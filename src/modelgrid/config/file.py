"""Reading and writing `config.json`. Blocking; called at start and from worker threads."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modelgrid.config.model import Config
from modelgrid.domain.errors import InvalidConfig

SYSTEM_CONFIG = Path("/etc/modelgrid/config.json")
SYSTEM_STATE = Path("/var/lib/modelgrid")

_TOP_LEVEL_CONTEXT = "the top level"


def default_config_path() -> Path:
    """Return `$MODELGRID_CONFIG`, else the system file for root, else the one in the user's config folder."""
    if named := os.environ.get("MODELGRID_CONFIG"):
        return Path(named)
    if os.geteuid() == 0:
        return SYSTEM_CONFIG
    return Path(os.environ.get("XDG_CONFIG_HOME", str(Path.home() / ".config"))) / "modelgrid" / "config.json"


def default_state_dir() -> Path:
    """Return `$MODELGRID_STATE_DIR`, else the system folder for root, else the one in the user's data folder."""
    if named := os.environ.get("MODELGRID_STATE_DIR"):
        return Path(named)
    if os.geteuid() == 0:
        return SYSTEM_STATE
    return Path(os.environ.get("XDG_DATA_HOME", str(Path.home() / ".local" / "share"))) / "modelgrid"


def load_config(path: Path, *, must_exist: bool = False) -> Config:
    """Return the configuration in `path`; the defaults when there is no such file and it need not exist.

    Raises `InvalidConfig` with one problem per line in `details["problems"]`; nothing is half-applied.
    """
    return parse_config(read_text(path, must_exist=must_exist), source=str(path))


def read_text(path: Path, *, must_exist: bool = False) -> str:
    """Return the file's text; `{}` when it does not exist and need not."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if must_exist:
            raise InvalidConfig(
                f"{path} does not exist.", fix="Create it with `modelgrid config init`.", path=str(path)
            ) from None
        return "{}"
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{path} is not UTF-8 text ({error.reason}).", fix="Save it as UTF-8.") from None
    except OSError as error:
        raise InvalidConfig(
            f"{path} cannot be read: {error.strerror}.", fix="Check its owner and mode.", path=str(path)
        ) from None


def parse_config(text: str, *, source: str) -> Config:
    """Return the configuration in `text`; `source` names it in errors. Raises `InvalidConfig`."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidConfig(
            f"{source} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
            fix="Mend the file, or restore it; `modelgrid config validate` checks it.",
            line=error.lineno,
            column=error.colno,
        ) from None
    try:
        return Config.model_validate_json(text)
    except ValidationError as error:
        problems = problems_of(error)
        shown = "; ".join(f"{p['path']}: {p['expected']} (found {p['value']})" for p in problems)
        raise InvalidConfig(
            f"{source} is refused: {shown}.",
            fix="`modelgrid config schema` prints what is allowed.",
            problems=problems,
        ) from None


def problems_of(error: ValidationError) -> list[dict[str, str]]:
    """Return each problem as path, value and what was expected; union branches of one path are one problem."""
    problems: dict[str, dict[str, str]] = {}
    for item in error.errors(include_url=False):
        path = ".".join(str(part) for part in _document_path(item["loc"])) or _TOP_LEVEL_CONTEXT
        expected = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            expected = f"unknown key{_nearest(item['loc'])}"
        value = json.dumps(item["input"], default=str)
        if path in problems:
            problems[path]["expected"] += f", or: {expected}"
        else:
            problems[path] = {"path": path, "value": value[:120], "expected": expected}
    return list(problems.values())


def _document_path(location: Sequence[str | int]) -> list[str | int]:
    """Drop pydantic's names of union branches from a location, keeping keys and indices."""
    branches = ("bool", "int", "float", "str", "none", "tuple[", "constrained-", "function-")
    return [part for part in location if isinstance(part, int) or not part.startswith(branches)]


def _nearest(location: Sequence[str | int]) -> str:
    """Return a hint naming the known key that resembles the unknown one most."""
    from difflib import get_close_matches  # noqa: PLC0415  only on the way to an error

    known: set[str] = set()
    schema = Config.model_json_schema(by_alias=True)
    for definition in (schema, *schema.get("$defs", {}).values()):
        known.update(definition.get("properties", {}))
    match = get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def write_atomically(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace `path` by `text` so that a reader or a crash sees the old text or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def dump(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def set_value(document: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """Return `document` with the value at a dotted path replaced, sections created as needed; not validated."""
    head, _, rest = dotted.partition(".")
    copy = dict(document)
    if rest:
        inner = copy.get(head, {})
        if not isinstance(inner, dict):
            raise InvalidConfig(f"{head} is not a section.", fix="`modelgrid config schema` shows the structure.")
        copy[head] = set_value(inner, rest, value)
    else:
        copy[head] = value
    return copy
