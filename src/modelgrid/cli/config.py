"""`modelgrid config …`: the file, API keys and users."""

import getpass
import json
import sys
from typing import Annotated, Any

import typer

from modelgrid.cli.output import Json, ago, console, print_json, say, status, table
from modelgrid.cli.session import session_of
from modelgrid.config.file import dump, load_config, parse_config, read_text, set_value, write_atomically
from modelgrid.config.model import json_schema, redacted
from modelgrid.domain.errors import InvalidConfig, InvalidInput, NotFound


def register(app: typer.Typer) -> None:
    noun = typer.Typer(help="Configuration, API keys and users.", no_args_is_help=True)
    noun.command()(show)
    noun.command("get")(get_value)
    noun.command("set")(set_key)
    noun.command()(init)
    noun.command()(validate)
    noun.command()(schema)
    keys = typer.Typer(help="API keys of the gateway.", no_args_is_help=True)
    keys.command("list")(list_keys)
    keys.command()(generate)
    keys.command()(revoke)
    noun.add_typer(keys, name="apikey")
    users = typer.Typer(help="Users of the console.", no_args_is_help=True)
    users.command()(passwd)
    noun.add_typer(users, name="user")
    app.add_typer(noun, name="config")


def show(context: typer.Context, as_json: Json = False) -> None:
    """Print the resolved configuration, defaults included and secrets redacted."""
    print_json(_resolved(context)) if as_json else console.print_json(data=_resolved(context))


def _resolved(context: typer.Context) -> dict[str, Any]:
    config = load_config(session_of(context).config)
    return redacted(config.model_dump(mode="json", by_alias=True))


def get_value(
    context: typer.Context, key: Annotated[str, typer.Argument(help="Dotted path, for example api.port.")]
) -> None:
    """Print one value of the resolved configuration."""
    value: Any = _resolved(context)
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise NotFound(f"There is no configuration key {key!r}.", fix="`modelgrid config schema` lists them.")
        value = value[part]
    print_json(value)


def set_key(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="Dotted path, for example api.port.")],
    value: Annotated[str, typer.Argument(help="JSON, or text.")],
) -> None:
    """Set one value in the file; it is checked first, and nothing is written when it is refused."""
    path = session_of(context).config
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        parsed = value
    document = json.loads(read_text(path))
    changed = dump(set_value(document, key, parsed))
    parse_config(changed, source=f"{path} with {key} = {value}")
    write_atomically(path, changed)
    say(f"{path}: {key} is {json.dumps(parsed)} now. Restart the daemon to apply it.")


def init(
    context: typer.Context, force: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False
) -> None:
    """Write a configuration file for this machine that never simulates."""
    path = session_of(context).config
    if path.exists() and not force:
        raise InvalidConfig(f"{path} exists.", fix="Edit it, or replace it with --force.")
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
    write_atomically(path, text)
    say(f"{path} written. `modelgrid config schema` describes every key.")


def validate(context: typer.Context, as_json: Json = False) -> None:
    """Check the file. Exit status 2 when it is refused."""
    path = session_of(context).config
    load_config(path, must_exist=True)
    if as_json:
        print_json({"path": str(path), "valid": True})
    else:
        say(f"{path} is valid.")


def schema() -> None:
    """Print the JSON Schema of config.json."""
    print_json(json_schema())


def list_keys(context: typer.Context, as_json: Json = False) -> None:
    """List API keys."""
    with session_of(context).client() as client:
        items = client.api_keys()
    if as_json:
        print_json({"items": items})
        return
    table(
        ("id", "label", "prefix", "status", "scope", "created", "last used"),
        (
            [
                item["id"],
                item["label"],
                item["prefix"] + "…",
                status(item["status"]),
                item["scope"],
                f"{ago(item['created_at'])} ago",
                f"{ago(item['last_used_at'])} ago" if item["last_used_at"] else "never",
            ]
            for item in items
        ),
        empty="There is no API key. Make one with: modelgrid config apikey generate --label NAME",
    )


def generate(
    context: typer.Context,
    label: Annotated[str, typer.Option(help="Who or what uses it.")],
    model: Annotated[list[str] | None, typer.Option(help="Only this model; repeat for more.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    as_json: Json = False,
) -> None:
    """Make an API key and print its secret, this once."""
    limits: dict[str, Any] = {"models": model or None, "requests_per_minute": requests_per_minute}
    with session_of(context).client() as client:
        key = client.generate_api_key(label, **limits)
    if as_json:
        print_json({name: key[name] for name in ("id", "label", "prefix", "secret")})
        return
    sys.stdout.write(key["secret"] + "\n")
    say(f"Key {key['id']} ({label}). The secret is shown this once; keep it now.")


def revoke(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="Id, label or prefix.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Revoke an API key. Whoever uses it is refused from then on."""
    if not yes and sys.stdin.isatty() and not typer.confirm(f"Revoke {key}? Its users are refused at once."):
        raise typer.Exit(1)
    with session_of(context).client() as client:
        revoked = client.revoke_api_key(key)
    if as_json:
        print_json(revoked)
    else:
        say(f"{revoked['id']} ({revoked['label']}) is revoked.")


def passwd(
    context: typer.Context,
    user: Annotated[str, typer.Argument()] = "admin",
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the password from standard input.")] = False,
) -> None:
    """Set a user's password."""
    if stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = getpass.getpass("New password: ")
        if password != getpass.getpass("Again: "):
            raise InvalidInput("The two passwords differ.", fix="Try again.")
    with session_of(context).client() as client:
        client.set_password(user, password)
    say(f"The password of {user} is changed.")
