"""Reading and writing `config.json`. Blocking; called at start and from worker threads."""

import json
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modelgrid.config.model import REDACTED, Config
from modelgrid.domain.errors import InvalidConfig

_TOP_LEVEL_CONTEXT = "the top level"


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
        value = _shown(item["loc"], item["input"])
        if path in problems:
            problems[path]["expected"] += f", or: {expected}"
        else:
            problems[path] = {"path": path, "value": value[:120], "expected": expected}
    return list(problems.values())


def _shown(location: Sequence[str | int], value: Any) -> str:
    """Return a refused value as it may be shown: a secret never, a section by its keys, as secrets may be in it."""
    if "sharedSecret" in location or "env" in location:
        return REDACTED
    if isinstance(value, Mapping):
        return f"a section with {', '.join(map(str, value)) or 'nothing'}"
    return json.dumps(value, default=str)


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


def write_atomically(path: Path, text: str, *, mode: int = 0o600, owner: os.stat_result | None = None) -> None:
    """Replace `path` by `text` so that a reader or a crash sees the old text or the new one, never a part.

    `owner`: whose user and group the file gets; default: the caller's. Raises `OSError`."""
    put_in_place(stage(path, text, mode=mode, owner=owner), path)


def stage(path: Path, text: str, *, mode: int = 0o600, owner: os.stat_result | None = None) -> Path:
    """Write `text` to a new file beside `path`, down to the disk, and return it. What needs space is done then.

    `put_in_place` or unlinking it follows. Raises `OSError`, leaving nothing behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        if owner is not None and (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(temporary, owner.st_uid, owner.st_gid)
        temporary.chmod(mode)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def put_in_place(staged: Path, path: Path) -> None:
    """Replace `path` by a staged file, for good. Raises `OSError`, leaving no staged file behind."""
    try:
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def stage_rewrite(path: Path, text: str) -> tuple[Path, Path]:
    """Like `stage`, keeping the mode and owner of `path`; return the staged file and the one that `path` links to."""
    real = path.resolve()
    before = real.stat() if real.exists() else None
    return stage(real, text, mode=stat.S_IMODE(before.st_mode) if before else 0o600, owner=before), real


def rewrite(path: Path, text: str) -> None:
    """Replace a file as `write_atomically` does, keeping its mode and owner and what it is a link to.

    Raises `InvalidConfig` when it cannot be written; nothing has changed then."""
    try:
        put_in_place(*stage_rewrite(path, text))
    except OSError as error:
        raise InvalidConfig(
            f"{path} cannot be written: {error.strerror}.", fix="Check its owner and mode, or run this with sudo."
        ) from error


def dump(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def set_value(document: dict[str, Any], dotted: str, value: Any, *, above: str = "") -> dict[str, Any]:
    """Return `document` with the value at a dotted path replaced, sections created as needed; not validated.

    `above` is the path of `document` itself, for the error."""
    head, _, rest = dotted.partition(".")
    copy = dict(document)
    if rest:
        inner = copy.get(head, {})
        if not isinstance(inner, dict):
            raise InvalidConfig(
                f"{above}{head} is not a section.", fix="`modelgrid config schema` shows the structure."
            )
        copy[head] = set_value(inner, rest, value, above=f"{above}{head}.")
    else:
        copy[head] = value
    return copy
