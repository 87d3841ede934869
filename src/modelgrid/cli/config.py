"""`modelgrid config …`: the file. Keys and users are in `access`, tokens in `token`."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.highlighter import JSONHighlighter
from rich.text import Text

from modelgrid.cli.access import register_access
from modelgrid.cli.audit import audit
from modelgrid.cli.options import Json, new_noun, session_of, verbs
from modelgrid.cli.output import console, json_text, print_json, say, show
from modelgrid.cli.session import Session
from modelgrid.cli.token import register_token
from modelgrid.config.change import changes
from modelgrid.config.file import dump, load_config, parse_config, read_text, rewrite, set_value, write_atomically
from modelgrid.config.keys import NO_REGISTRY
from modelgrid.config.model import REDACTED, SECRET_PATHS, Config, json_schema, redacted
from modelgrid.domain.errors import Conflict, DaemonUnreachable, InvalidConfig, NotFound

if TYPE_CHECKING:
    from modelgrid.client.http import ModelGridClient

LOCAL_SECONDS = 10.0

Key = Annotated[str, typer.Argument(help="Dotted path, for example api.port.")]


def register(app: typer.Typer) -> None:
    noun = new_noun("Configuration, API keys, tokens and users.")
    verbs(noun, show=show_config, get=get_value, set=set_key, init=init, validate=validate, schema=schema)
    register_access(noun)
    register_token(noun)
    verbs(noun, audit=audit)
    app.add_typer(noun, name="config")


def show_config(context: typer.Context, as_json: Json = False) -> None:
    """Print the resolved configuration, defaults included and secrets redacted."""
    resolved = _resolved(session_of(context))
    if as_json:
        print_json(resolved)
        return
    text = Text(json_text(resolved, indent=2))
    if console.is_terminal:
        JSONHighlighter().highlight(text)
    show(text)


def _resolved(session: Session) -> dict[str, Any]:
    with _daemon_of(session) as daemon:
        if daemon is not None:
            return dict(daemon.show_config()["config"])
    config = load_config(session.config)
    return redacted(config.model_dump(mode="json", by_alias=True))


@contextmanager
def _daemon_of(session: Session) -> Iterator["ModelGridClient | None"]:
    """Yield a client of the daemon whose configuration is meant; `None` when it is a file that no daemon uses.

    Where nobody names a file it is that of the daemon which runs with the state directory, whichever it was given."""
    client = session.client() if session.url is not None else _local(session)
    if client is None:
        yield None
        return
    with client:
        yield client


def _local(session: Session) -> "ModelGridClient | None":
    try:
        client = session.client(LOCAL_SECONDS)
        path = client.show_config()["path"]
    except DaemonUnreachable:
        return None
    if session.config_path is None or path == str(session.config.absolute()):
        return client
    client.close()
    return None


def _file(session: Session) -> Path:
    """Return the file that is meant on this machine: the one named, else the running daemon's, else the default."""
    daemon = _local(session) if session.config_path is None and session.url is None else None
    if daemon is None:
        return session.config
    with daemon:
        return Path(daemon.show_config()["path"])


def get_value(context: typer.Context, key: Key, as_json: Json = False) -> None:
    """Print one value of the resolved configuration: text as it is, everything else as JSON."""
    value: Any = _resolved(session_of(context))
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would change.")] = False,
    as_json: Json = False,
) -> None:
    """Set one value; it is checked first, and nothing is written when it is refused.

    A running daemon writes it and applies what it can at once. Without one the file is written here."""
    session = session_of(context)
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        parsed = value
    with _daemon_of(session) as daemon:
        if daemon is not None:
            path, diff, same = _patch(daemon, key, parsed, dry_run=dry_run)
        else:
            path = session.config
            diff, same = _write(path, key, parsed, value, dry_run=dry_run)
        live = daemon is not None
    waits = any(change["restart_required"] for change in diff)
    if as_json:
        shown = REDACTED if tuple(key.split(".")) in SECRET_PATHS else parsed
        said = {"path": str(path), "key": key, "value": shown, "diff": diff, "dry_run": dry_run}
        print_json({**said, "restart_required": not same and (waits or not live)})
        return
    for change in diff:
        before, after = (json.dumps(change[side], ensure_ascii=False) for side in ("before", "after"))
        say(f"{change['path']}: {before} → {after}")
    if same:
        say(f"{path}: {key} has that value already.")
    elif dry_run:
        say("Nothing was changed.")
    elif waits or not live:
        say(f"{path} written. Restart the daemon to apply it.")
    else:
        say(f"{path} written. It holds from now on.", "green")


def _patch(
    daemon: "ModelGridClient", key: str, value: Any, *, dry_run: bool
) -> tuple[Path, Sequence[Mapping[str, Any]], bool]:
    """Return the daemon's file, what changes, and whether nothing does."""
    found = daemon.show_config()
    if value is None and key == NO_REGISTRY[0]:
        value = NO_REGISTRY[1]
    present: Any = found["config"]
    for part in key.split("."):
        present = present.get(part) if isinstance(present, dict) else None
    if isinstance(value, dict) and isinstance(present, dict):
        value = {**dict.fromkeys(present), **value}  # set, not merged: what is not named goes
    patch = set_value({}, key, value)
    done = daemon.patch_config(patch, dry_run=dry_run, if_match=found["etag"])
    return Path(found["path"]), done["diff"], not done["diff"]


def _write(path: Path, key: str, value: Any, text: str, *, dry_run: bool) -> tuple[Sequence[Mapping[str, Any]], bool]:
    """Return what changes, and whether nothing does: then nothing is written, and no file made."""
    document = _document(path.name, read_text(path))
    secret = tuple(key.split(".")) in SECRET_PATHS
    changed = dump(set_value(document, key, value))
    after = parse_config(changed, source=f"{path} with {key} = {REDACTED if secret else text}")
    try:
        before, mends = parse_config(dump(document), source=str(path)), False
    except InvalidConfig:
        before, mends = Config(), True  # type: ignore[call-arg]
    diff = [asdict(change) for change in changes(before, after)]
    same = not diff and not mends
    if not dry_run and not same:
        rewrite(path, changed)
    return diff, same


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
        keep = path.exists() and not force
        if not keep:
            write_atomically(path, text)
    except OSError as error:
        raise InvalidConfig(
            f"{path} cannot be written: {error.strerror}.", fix="Name another with --config, or run this with sudo."
        ) from error
    if keep:
        raise Conflict(f"{path} exists.", fix="Edit it, or replace it with --force.")
    if as_json:
        print_json({"path": str(path), "config": document})
    else:
        say(f"{path} written. `modelgrid config schema` describes every key.")


def validate(context: typer.Context, as_json: Json = False) -> None:
    """Check the file. Exit status 2 when it is refused."""
    path = _file(session_of(context))
    load_config(path, must_exist=True)
    if as_json:
        print_json({"path": str(path), "valid": True})
    else:
        say(f"{path} is valid.", "green")


def schema(as_json: Json = False) -> None:
    """Print the JSON Schema of config.json."""
    print_json(json_schema())
