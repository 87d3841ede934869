"""`modelgrid config …`: the file. Keys and users are in `access`."""

import difflib
import json
from typing import Annotated, Any

import typer
from rich.highlighter import JSONHighlighter
from rich.text import Text

from modelgrid.cli.access import register_access
from modelgrid.cli.options import Json, new_noun, session_of, verbs
from modelgrid.cli.output import console, json_text, print_json, say, show
from modelgrid.config.file import dump, load_config, parse_config, read_text, rewrite, set_value, write_atomically
from modelgrid.config.model import REDACTED, SECRET_PATHS, json_schema, redacted
from modelgrid.domain.errors import Conflict, InvalidConfig, NotFound

Key = Annotated[str, typer.Argument(help="Dotted path, for example api.port.")]


def register(app: typer.Typer) -> None:
    noun = new_noun("Configuration, API keys and users.")
    verbs(noun, show=show_config, get=get_value, set=set_key, init=init, validate=validate, schema=schema)
    register_access(noun)
    app.add_typer(noun, name="config")


def show_config(context: typer.Context, as_json: Json = False) -> None:
    """Print the resolved configuration, defaults included and secrets redacted."""
    resolved = _resolved(context)
    if as_json:
        print_json(resolved)
        return
    text = Text(json_text(resolved, indent=2))
    if console.is_terminal:
        JSONHighlighter().highlight(text)
    show(text)


def _resolved(context: typer.Context) -> dict[str, Any]:
    config = load_config(session_of(context).config)
    return redacted(config.model_dump(mode="json", by_alias=True))


def get_value(context: typer.Context, key: Key, as_json: Json = False) -> None:
    """Print one value of the resolved configuration: text as it is, everything else as JSON."""
    value: Any = _resolved(context)
    for part in key.split("."):
        value = _inner(value, part, key)
    if isinstance(value, str) and not as_json:
        show(json_text(value)[1:-1])
    else:
        print_json(value)


def _inner(value: Any, part: str, key: str) -> Any:
    if isinstance(value, dict) and part in value:
        return value[part]
    if isinstance(value, list) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    near = difflib.get_close_matches(part, value, n=1) if isinstance(value, dict) else []
    raise NotFound(
        f"There is no configuration key {key!r}.",
        fix=f"Did you mean {near[0]!r} in place of {part!r}?" if near else "`modelgrid config show` lists them.",
    )


def set_key(
    context: typer.Context,
    key: Key,
    value: Annotated[str, typer.Argument(help="JSON, or text.")],
    as_json: Json = False,
) -> None:
    """Set one value in the file; it is checked first, and nothing is written when it is refused."""
    path = session_of(context).config
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        parsed = value
    secret = tuple(key.split(".")) in SECRET_PATHS
    shown = REDACTED if secret else parsed
    changed = dump(set_value(_document(path.name, read_text(path)), key, parsed))
    parse_config(changed, source=f"{path} with {key} = {REDACTED if secret else value}")
    rewrite(path, changed)
    if as_json:
        print_json({"path": str(path), "key": key, "value": shown, "restart_required": True})
    else:
        say(f"{path}: {key} is {json.dumps(shown, ensure_ascii=False)} now. Restart the daemon to apply it.")


def _document(name: str, text: str) -> dict[str, Any]:
    """Return the file as it is written, without checking its values: setting one may be what mends it."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidConfig(
            f"{name} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
            fix="Mend the file by hand; `modelgrid config validate` checks it. Nothing was changed.",
            line=error.lineno,
            column=error.colno,
        ) from None
    if not isinstance(document, dict):
        raise InvalidConfig(
            f"{name} holds {type(document).__name__} at its top; expected an object.",
            fix="Mend the file by hand, or replace it with: modelgrid config init --force",
        )
    return document


def init(
    context: typer.Context,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a configuration file for this machine that never simulates."""
    path = session_of(context).config
    if path.exists() and not force:
        raise Conflict(f"{path} exists.", fix="Edit it, or replace it with --force.")
    document = {
        "api": {"port": 8080, "host": "127.0.0.1", "uiPort": 8081, "uiHost": "127.0.0.1"},
        "docker": {"runtime": "auto"},
        "gpus": {"autoDetect": True, "simulate": False},
        "models": {"autoDeploy": False, "autoLoad": []},
        "containers": [],
        "cluster": {"role": "standalone"},
    }
    text = dump(document)
    parse_config(text, source=str(path))
    try:
        write_atomically(path, text)
    except OSError as error:
        raise InvalidConfig(
            f"{path} cannot be written: {error.strerror}.", fix="Name another with --config, or run this with sudo."
        ) from error
    if as_json:
        print_json({"path": str(path), "config": document})
    else:
        say(f"{path} written. `modelgrid config schema` describes every key.")


def validate(context: typer.Context, as_json: Json = False) -> None:
    """Check the file. Exit status 2 when it is refused."""
    path = session_of(context).config
    load_config(path, must_exist=True)
    if as_json:
        print_json({"path": str(path), "valid": True})
    else:
        say(f"{path} is valid.", "green")


def schema(as_json: Json = False) -> None:
    """Print the JSON Schema of config.json."""
    print_json(json_schema())
