"""`modelgrid config token …`: credentials of the console API for scripts."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelgrid.cli import complete
from modelgrid.cli.access import confirm_revoking
from modelgrid.cli.options import Json, OfStatus, new_noun, session_of, verbs
from modelgrid.cli.output import ago, print_json, say, status
from modelgrid.cli.pages import every
from modelgrid.cli.tables import Column, table
from modelgrid.domain.access import Role

if TYPE_CHECKING:
    from modelgrid.client.views import TokenView

_COLUMNS = (
    Column("id"),
    Column("label", wrap=True),
    Column("prefix", drop=2),
    Column("role"),
    Column("status"),
    Column("created", drop=3),
    Column("expires", drop=1),
    Column("last used"),
)
DAY_SECONDS = 86_400.0


def register_token(noun: typer.Typer) -> None:
    tokens = new_noun("Tokens with which scripts call the console API.")
    verbs(tokens, list=list_tokens, generate=generate, revoke=revoke)
    noun.add_typer(tokens, name="token")


def list_tokens(context: typer.Context, status_word: OfStatus = None, as_json: Json = False) -> None:
    """List tokens."""
    with session_of(context).client() as client:
        items = every(
            lambda after: client.list_tokens(status=status_word.value if status_word else None, after=after),
            lambda page: page["items"],
        )
    if as_json:
        print_json({"items": items})
        return
    table(
        _COLUMNS,
        ([*_who(item), *_times(item)] for item in items),
        empty="There is no token. Make one with: modelgrid config token generate --label NAME",
    )


def _who(item: "TokenView") -> list[Any]:
    return [item["id"], item["label"], item["prefix"] + "…", item["role"], status(item["status"])]


def _times(item: "TokenView") -> list[str]:
    expires = time.strftime("%Y-%m-%d", time.localtime(item["expires_at"])) if item["expires_at"] else "never"
    used = f"{ago(item['last_used_at'])} ago" if item["last_used_at"] else "never"
    return [f"{ago(item['created_at'])} ago", expires, used]


def generate(
    context: typer.Context,
    label: Annotated[str, typer.Option(help="Who or what uses it.")],
    role: Annotated[Role, typer.Option(help="A viewer may only read.")] = Role.VIEWER,
    days: Annotated[float | None, typer.Option(min=0, help="It ends after so many days; without: never.")] = None,
    as_json: Json = False,
) -> None:
    """Make a token for scripts and print its secret, this once. Use it with --token or MODELGRID_TOKEN."""
    expires_at = None if days is None else time.time() + days * DAY_SECONDS
    with session_of(context).client() as client:
        made = client.generate_token({"label": label, "role": role.value, "expires_at": expires_at})
    if as_json:
        print_json({name: made[name] for name in ("id", "label", "prefix", "role", "secret")})
        return
    sys.stdout.write(made["secret"] + "\n")
    sys.stdout.flush()
    say(f"Token {made['id']} ({label}) for a {made['role']}. The secret is shown this once; keep it now.")


def revoke(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="TOKEN", help="Id, label or prefix.", autocompletion=complete.tokens)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Revoke a token. Its next call is refused, its streams close."""
    confirm_revoking(name, asks=not yes and not as_json)
    with session_of(context).client() as client:
        revoked = client.revoke_token(name)
    if as_json:
        print_json(revoked)
    else:
        say(f"{revoked['id']} ({revoked['label']}) is revoked.")
