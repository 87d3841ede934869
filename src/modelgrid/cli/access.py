"""`modelgrid config apikey …` and `config user …`: who may call. Tokens are in `token`."""

import contextlib
import getpass
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from modelgrid.cli import complete
from modelgrid.cli.options import Json, OfStatus, new_noun, session_of, verbs
from modelgrid.cli.output import ago, print_json, say, status
from modelgrid.cli.pages import every
from modelgrid.cli.spans import span
from modelgrid.cli.tables import Column, table
from modelgrid.domain.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from modelgrid.client.http import ModelGridClient
    from modelgrid.client.views import ApiKeyBody

_COLUMNS = (
    Column("id"),
    Column("label", wrap=True),
    Column("prefix", drop=2),
    Column("status"),
    Column("scope", drop=1, below=True),
    Column("created", drop=3),
    Column("last used"),
)


def register_access(noun: typer.Typer) -> None:
    keys = new_noun("API keys of the gateway.")
    verbs(keys, list=list_keys, generate=generate, revoke=revoke)
    noun.add_typer(keys, name="apikey")
    users = new_noun("Users of the console.")
    verbs(users, passwd=passwd)
    noun.add_typer(users, name="user")


def list_keys(context: typer.Context, status_word: OfStatus = None, as_json: Json = False) -> None:
    """List API keys."""
    with session_of(context).client() as client:
        items = every(
            lambda after: client.list_api_keys(status=status_word.value if status_word else None, after=after),
            lambda page: page["items"],
        )
    if as_json:
        print_json({"items": items})
        return
    table(
        _COLUMNS,
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
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model; repeat for more.", autocompletion=complete.models)
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="No more requests than this.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=1, help="No more tokens, read and generated.")] = None,
    concurrent_requests: Annotated[int | None, typer.Option(min=1, help="No more requests at a time.")] = None,
    expires_in: Annotated[
        str | None, typer.Option(help="It ends after this span, for example 12h or 30d; without: never.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an API key and print its secret, this once."""
    expires_at = None if expires_in is None else time.time() + _lifetime(expires_in)
    body: ApiKeyBody = {
        "label": label,
        "models": model or None,
        "expires_at": expires_at,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "concurrent_requests": concurrent_requests,
    }
    with session_of(context).client() as client:
        key = client.generate_api_key(body)
        unknown = [] if as_json else [error for name in model or [] if (error := _unknown(client, name))]
    if as_json:
        print_json({name: key[name] for name in ("id", "label", "prefix", "secret")})
        return
    sys.stdout.write(key["secret"] + "\n")
    sys.stdout.flush()
    say(f"Key {key['id']} ({label}). The secret is shown this once; keep it now.")
    for error in unknown:
        say(f"{error} Until something of that name is deployed, it opens nothing.", "yellow")


def _unknown(client: "ModelGridClient", model: str) -> NotFound | None:
    """Return what says that neither a catalog nor a target has this name."""
    try:
        client.show_model(model)
    except NotFound as error:
        with contextlib.suppress(NotFound):
            client.show_target(model)
            return None
        return error
    return None


def _lifetime(text: str) -> float:
    seconds = span(text)
    if not seconds:
        raise InvalidInput(f"--expires-in {text!r} is no span of time.", fix="For example 90s, 15m, 12h or 30d.")
    return seconds


def revoke(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="Id, label or prefix.", autocompletion=complete.api_keys)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Revoke an API key. Whoever uses it is refused from then on."""
    confirm_revoking(key, asks=not yes and not as_json)
    with session_of(context).client() as client:
        revoked = client.revoke_api_key(key)
    if as_json:
        print_json(revoked)
    else:
        say(f"{revoked['id']} ({revoked['label']}) is revoked.")


def confirm_revoking(name: str, *, asks: bool) -> None:
    """Ask at a terminal; exit when the answer is no."""
    if asks and sys.stdin.isatty() and not typer.confirm(f"Revoke {name}? Its users are refused at once.", err=True):
        say("Nothing was revoked.")
        raise typer.Exit(1)


def passwd(
    context: typer.Context,
    user: Annotated[str, typer.Argument(help="Name of the user.")] = "admin",
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the password from standard input.")] = False,
    as_json: Json = False,
) -> None:
    """Set a user's password."""
    if stdin:
        password = sys.stdin.readline().rstrip("\n")
    elif sys.stdin.isatty():
        password = getpass.getpass("New password: ")
        if password != getpass.getpass("Again: "):
            raise InvalidInput("The two passwords differ.", fix="Try again.")
    else:
        raise InvalidInput("There is no terminal to ask for the password.", fix="Give it on standard input: --stdin")
    with session_of(context).client() as client:
        client.set_password(user, {"password": password})
    if as_json:
        print_json({"user": user, "changed": True})
    else:
        say(f"The password of {user} is changed.")
