"""`modelgrid service …`: the daemon under systemd."""

import getpass
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from modelgrid.cli.output import Json, print_json, say
from modelgrid.cli.session import Session, session_of
from modelgrid.cli.systemd_unit import API_SOCKET, SERVICE, UI_SOCKET, UnitFacts, units
from modelgrid.cli.up import prepare_state
from modelgrid.config.file import load_config, write_atomically
from modelgrid.domain.errors import Forbidden, InvalidConfig, ModelGridError

UNIT_DIR = Path("/etc/systemd/system")


class ServiceFailed(ModelGridError):
    """systemd refused or failed."""

    code = "service_failed"


def register(app: typer.Typer) -> None:
    noun = typer.Typer(help="The daemon as a systemd service.", no_args_is_help=True)
    for verb in (enable, disable, start, stop, restart):
        noun.command()(verb)
    noun.command("status")(show_status)
    noun.command("logs")(show_logs)
    noun.command("unit")(show_unit)
    app.add_typer(noun, name="service")


def enable(
    context: typer.Context,
    user: Annotated[str, typer.Option(help="User to run as; needs access to the container engine.")] = "root",
    now: Annotated[bool, typer.Option("--now/--no-now", help="Start it, too.")] = True,
) -> None:
    """Install the units, and start the daemon now and at each boot."""
    _must_be_root()
    session = session_of(context)
    prepare_state(session.state)
    for name, text in units(_facts(session, user)).items():
        write_atomically(UNIT_DIR / name, text, mode=0o644)
        say(f"{UNIT_DIR / name} written")
    _systemctl("daemon-reload")
    _systemctl("enable", *(["--now"] if now else []), SERVICE, API_SOCKET, UI_SOCKET)
    say("Enabled. The first start prints the admin password and an API key: modelgrid service logs")


def disable(context: typer.Context) -> None:
    """Stop the daemon, do not start it at boot, and remove the units. Engines are kept."""
    _must_be_root()
    _systemctl("disable", "--now", SERVICE, API_SOCKET, UI_SOCKET)
    for name in (SERVICE, API_SOCKET, UI_SOCKET):
        (UNIT_DIR / name).unlink(missing_ok=True)
    _systemctl("daemon-reload")
    say("Disabled. Engines run on; the state is kept.")


def start() -> None:
    """Start the daemon."""
    _systemctl("start", SERVICE)


def stop() -> None:
    """Stop the daemon and close its sockets. Engines are kept."""
    _systemctl("stop", SERVICE, API_SOCKET, UI_SOCKET)


def restart() -> None:
    """Restart the daemon. Sockets stay open, running requests finish, engines are kept."""
    _systemctl("restart", SERVICE)


def show_status(as_json: Json = False) -> None:
    """Show what systemd says of the daemon. Exit status 1 when it does not run."""
    names = ("ActiveState", "SubState", "MainPID", "ExecMainStatus", "UnitFileState", "ActiveEnterTimestamp")
    text = _systemctl("show", "--property", ",".join(names), SERVICE, capture=True)
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if as_json:
        print_json(values)
    else:
        for name in names:
            say(f"{name}: {values.get(name, '—')}")
    if values.get("ActiveState") != "active":
        raise typer.Exit(1)


def show_logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1)] = 200,
) -> None:
    """Show the daemon's journal."""
    program = shutil.which("journalctl")
    if program is None:
        raise ServiceFailed("journalctl is not installed.", fix="Without systemd the daemon logs to its terminal.")
    argv = [program, "--unit", SERVICE, "--lines", str(lines), *(["--follow"] if follow else ["--no-pager"])]
    os.execv(program, argv)  # noqa: S606


def show_unit(
    context: typer.Context, user: Annotated[str, typer.Option(help="User to run as.")] = getpass.getuser()
) -> None:
    """Print the units without installing them."""
    for name, text in units(_facts(session_of(context), user)).items():
        sys.stdout.write(f"# {name}\n{text}\n")


def _facts(session: Session, user: str) -> UnitFacts:
    config = load_config(session.config)
    program = Path(sys.argv[0]).resolve()
    if not program.is_file():
        raise InvalidConfig(f"The program {program} is not a file.", fix="Run the installed `modelgrid` command.")
    return UnitFacts(
        program=str(program),
        config=str(session.config.absolute()),
        state_dir=str(session.state.absolute()),
        api_address=_address(config.api.host, config.api.port),
        ui_address=_address(config.api.ui_host, config.api.ui_port),
        user=user,
    )


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _must_be_root() -> None:
    if os.geteuid() != 0:
        raise Forbidden("Units can be installed by root only.", fix="Run it with sudo.")


def _systemctl(*arguments: str, capture: bool = False) -> str:
    program = shutil.which("systemctl")
    if program is None:
        raise ServiceFailed("systemd is not here.", fix="Run `modelgrid up` under the supervisor that is.")
    done = subprocess.run([program, *arguments], check=False, text=True, capture_output=True)
    if done.returncode != 0:
        raise ServiceFailed(
            f"systemctl {' '.join(arguments)} failed: {done.stderr.strip()}",
            fix="`modelgrid service logs` may say why.",
        )
    if not capture and done.stdout:
        say(done.stdout)
    return done.stdout
