"""`modelgrid up`."""

from typing import Annotated

import typer

from modelgrid.cli.options import session_of, verbs
from modelgrid.config.paths import STATE_URL
from modelgrid.domain.errors import InvalidInput


def register(app: typer.Typer) -> None:
    verbs(app, up=up)


def up(
    context: typer.Context,
    state_url: Annotated[
        str | None,
        typer.Option(envvar=STATE_URL, help="Database of the state, such as postgresql://…; default SQLite."),
    ] = None,
) -> None:
    """Run the daemon of this machine in the foreground.

    Ctrl-C ends it; engines run on, and the next daemon finds them again."""
    from modelgrid.cli.up import run_supervisor  # noqa: PLC0415  not needed to show the help

    session = session_of(context)
    if session.url is not None:
        raise InvalidInput("`up` starts a daemon on this machine; --url names one elsewhere.", fix="Leave --url out.")
    run_supervisor(session.config, session.state, state_url, explicit=session.config_path is not None)
