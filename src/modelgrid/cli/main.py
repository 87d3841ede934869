"""The `modelgrid` command. A verb's module is loaded when the verb is used, so that help and completion are quick."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from modelgrid import __version__
from modelgrid.cli.options import located
from modelgrid.domain.errors import ModelGridError, Unauthenticated

COMMANDS = {
    "up": ("daemon", "Run the daemon of this machine in the foreground."),
    "demo": ("demo", "Run a three-node fleet with simulated GPUs, engines and traffic, for a look around."),
    "status": ("fleet", "Tell whether all is well, and what needs somebody."),
    "ps": ("fleet", "List deployments."),
    "run": ("run", "Deploy a model and keep it running."),
    "logs": ("logs", "Print an engine's output, or the log of everything."),
    "doctor": ("doctor", "Make every check an operator would make, with the fix."),
    "container": ("container", "Show, start, stop, restart, remove and follow deployments."),
    "model": ("model", "The catalog of models that can be deployed."),
    "cluster": ("cluster", "Nodes, what is desired of them, and how they come and go."),
    "gpu": ("gpu", "GPUs and their drivers."),
    "config": ("config", "Configuration, API keys, tokens and users."),
    "service": ("service", "The daemon as a systemd service."),
    "backup": ("backup", "Write the state of this machine's daemon to one file."),
    "restore": ("backup", "Put a backup in place of the state of this machine."),
}
"""Each command's module in this package, which adds it with `register(app)`, and its line in the help."""


class LazyGroup(TyperGroup):
    """The top: knows every command by name, and loads the one that is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command for a listing: its name and help only."""
        if cmd_name not in COMMANDS:
            return None
        listing = typer.Typer(add_completion=False, rich_markup_mode=None)
        listing.command(cmd_name, help=COMMANDS[cmd_name][1])(_not_loaded)
        return typer.main.get_command(listing)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        self.commands = {name: self.get_command(ctx, name) for name in COMMANDS}  # for suggestions
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and load(str(name)), rest


def _not_loaded() -> None:
    raise AssertionError("a listing is not run")


def load(name: str) -> Any:
    """Return the command `name` of `COMMANDS`, ready to run."""
    holder = typer.Typer(add_completion=False, rich_markup_mode=None)
    import_module(f"modelgrid.cli.{COMMANDS[name][0]}").register(holder)
    return get_group(holder).commands[name]


app = typer.Typer(
    name="modelgrid",
    cls=LazyGroup,
    help="Turn GPU machines into a model-serving fleet.",
    invoke_without_command=True,
    epilog="--config, --state-dir, --url and --token may stand before or after the command. Verbs take --json.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"modelgrid {__version__}")
        raise typer.Exit


def _top(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


app.callback()(located(_top, top=True))


def run(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit status: 0 ok, 1 failed, 2 usage, 130 ended by Ctrl-C."""
    as_json = "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
    try:
        code = typer.main.get_command(app).main(list(arguments), prog_name="modelgrid", standalone_mode=False)
    except typer.TyperException as error:
        return _fail(_usage_error(error), as_json=as_json)
    except Unauthenticated as error:
        error.fix = (
            "The credential is in the file `token` of that daemon's state directory: name the directory with "
            "--state-dir, or give the credential with --token."
        )
        return _fail(error, as_json=as_json)
    except ModelGridError as error:
        return _fail(error, as_json=as_json)
    except typer.Abort:
        typer.echo("Aborted: nothing was done.", err=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return code if isinstance(code, int) else 0


class WrongUsage(ModelGridError):
    """The arguments are not what the command takes."""

    code = "usage"
    exit_code = 2


def _usage_error(error: typer.TyperException) -> ModelGridError:
    context = getattr(error, "ctx", None)
    return WrongUsage(error.format_message(), fix=f"See: {context.command_path if context else 'modelgrid'} --help")


def _fail(error: ModelGridError, *, as_json: bool) -> int:
    from modelgrid.cli.output import fail  # noqa: PLC0415  rich, needed from here on only

    return fail(error, as_json=as_json)


def main() -> None:
    """Entry point of the `modelgrid` program."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):
            # A name that the terminal's encoding lacks is shown with a mark, and is no reason to fail.
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) has seen enough. Python would complain when it flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = code or 1
    sys.exit(code)
