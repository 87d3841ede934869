"""Options that every command takes, before or after its name.

They are declared on each command and group, not moved about in `sys.argv`: only the parser knows that the
`--config=x` of `run m --arg=--config=x`, or whatever follows `--`, is somebody else's value.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from modelgrid.cli.session import Session
from modelgrid.domain.target import Origin


class CredentialStatus(StrEnum):
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


OfModel = Annotated[str | None, typer.Option("--model", help="Only of this model, by id or alias, or of this target.")]
OnNode = Annotated[str | None, typer.Option("--node", help="Only on this node.")]
OfOrigin = Annotated[Origin | None, typer.Option("--origin", help="Only what was created so.")]
OfStatus = Annotated[CredentialStatus | None, typer.Option("--status", help="Only with this status.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

EPILOG = "--config, --state-dir, --url and --token, described by `modelgrid --help`, may stand here too."

_CONFIG, _STATE, _URL, _TOKEN = "--config", "--state-dir", "--url", "--token"

# `readable=False`: who opens the file knows more of what is wrong, and says the fix.
_AT_THE_TOP = {
    "config": Annotated[
        Path | None,
        typer.Option(
            _CONFIG, envvar="MODELGRID_CONFIG", help="Configuration file of this machine's daemon.", readable=False
        ),
    ],
    "state_dir": Annotated[
        Path | None,
        typer.Option(
            _STATE, envvar="MODELGRID_STATE_DIR", help="State directory of this machine's daemon.", readable=False
        ),
    ],
    "url": Annotated[str | None, typer.Option(_URL, envvar="MODELGRID_URL", help="Console URL of a daemon elsewhere.")],
    "token": Annotated[
        str | None,
        typer.Option(_TOKEN, envvar="MODELGRID_TOKEN", help="Credential for --url; better given by the variable."),
    ],
}
_BELOW = {
    "config": Annotated[Path | None, typer.Option(_CONFIG, hidden=True, readable=False)],
    "state_dir": Annotated[Path | None, typer.Option(_STATE, hidden=True, readable=False)],
    "url": Annotated[str | None, typer.Option(_URL, hidden=True)],
    "token": Annotated[str | None, typer.Option(_TOKEN, hidden=True)],
}
"""Without environment variables: those would override what was given at the top."""

_NAMES = {"config": "config_path", "state_dir": "state_dir", "url": "url", "token": "token"}


def located(function: Callable[..., None], *, top: bool = False) -> Callable[..., None]:
    """Return the command `function` with the options that say where the daemon is; the one nearest to the verb wins.

    The function reads them with `session_of(context)`."""
    own = inspect.signature(function)
    added = _AT_THE_TOP if top else _BELOW
    context = next((name for name, item in own.parameters.items() if item.annotation is typer.Context), None)

    @wraps(function)
    def command(**values: Any) -> None:
        asking: typer.Context = values[context or "context"]
        given = {_NAMES[name]: value for name in added if (value := values.pop(name)) is not None}
        asking.obj = replace(session_of(asking), **given)
        if context is None:
            del values["context"]
        function(**values)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [item.replace(kind=keyword) for item in own.parameters.values()]
    if context is None:
        parameters.insert(0, inspect.Parameter("context", keyword, annotation=typer.Context))
    parameters += [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in added.items()]
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {item.name: item.annotation for item in parameters}
    return command


def session_of(context: typer.Context) -> Session:
    """Return where the daemon is, as far as it was said up to here."""
    session: Session = context.obj or Session()
    return session


def verbs(noun: typer.Typer, **functions: Callable[..., None]) -> None:
    """Add commands by name; a trailing underscore of a name is dropped."""
    for name, function in functions.items():
        noun.command(name.rstrip("_"), epilog=EPILOG)(located(function))


def new_noun(help_text: str) -> typer.Typer:
    """Return a group of verbs that shows its help when no verb is named."""

    def shown(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help(), err=True)
            raise typer.Exit(2)

    return typer.Typer(
        help=help_text,
        callback=located(shown),
        invoke_without_command=True,
        rich_markup_mode=None,
    )
