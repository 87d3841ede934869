"""`modelgrid up`."""

from typing import Annotated

import typer

from modelgrid.cli.session import session_of


def register(app: typer.Typer) -> None:
    app.command()(up)


def up(
    context: typer.Context,
    state_url: Annotated[
        str | None,
        typer.Option(
            envvar="MODELGRID_STATE_URL", help="Database of the state, such as postgresql://…; default SQLite."
        ),
    ] = None,
) -> None:
    """Run the daemon of this machine in the foreground; Ctrl-C ends it, engines are kept."""
    from modelgrid.cli.up import run_supervisor  # noqa: PLC0415  not needed to list commands

    session = session_of(context)
    run_supervisor(session.config, session.state, state_url, explicit=session.config_path is not None)
