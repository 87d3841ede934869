"""The `modelgrid` command."""

import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from modelgrid import __version__
from modelgrid.cli.output import fail
from modelgrid.cli.session import Session
from modelgrid.domain.errors import ModelGridError

app = typer.Typer(
    name="modelgrid",
    help="Turn GPU machines into a model-serving fleet.",
    no_args_is_help=True,
    epilog="--config, --state-dir, --url and --token may stand before or after the command.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_NOUNS = ("daemon", "fleet", "run", "container", "gpu", "model", "config", "service", "doctor")
"""Modules of this package that add their commands with `register(app)`, in the order of the help."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"modelgrid {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(envvar="MODELGRID_CONFIG", help="Configuration file.", show_default="/etc/modelgrid/config.json"),
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(envvar="MODELGRID_STATE_DIR", help="State directory.", show_default="/var/lib/modelgrid"),
    ] = None,
    url: Annotated[str | None, typer.Option(envvar="MODELGRID_URL", help="Console URL of a daemon elsewhere.")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="MODELGRID_TOKEN", help="Credential for --url.", show_envvar=True)
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    context.obj = Session(config_path=config, state_dir=state_dir, url=url, token=token)


_VALUED = ("--config", "--state-dir", "--url", "--token")


def hoisted(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the options of `_options` moved to the front: they may stand after the verb, too."""
    front: list[str] = []
    rest: list[str] = []
    items = iter(arguments)
    for item in items:
        if item == "--":
            rest += [item, *items]
        elif item in _VALUED:
            front += [item, *islice(items, 1)]
        elif item.startswith(tuple(f"{option}=" for option in _VALUED)):
            front.append(item)
        else:
            rest.append(item)
    return front + rest


def build() -> typer.Typer:
    """Return the whole command with every noun registered."""
    for noun in _NOUNS:
        import_module(f"modelgrid.cli.{noun}").register(app)
    return app


def main() -> None:
    """Run the command line. Exit status: 0 ok, 1 failed, 2 usage."""
    try:
        build()(hoisted(sys.argv[1:]))
    except ModelGridError as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader (`| head`) has seen enough.
        sys.stderr.close()
        sys.exit(0)
