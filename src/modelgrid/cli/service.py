"""`modelgrid service …`: the daemon under systemd."""

import getpass
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from modelgrid.cli.options import Json, new_noun, session_of, verbs
from modelgrid.cli.output import STATE_STYLES, clean, print_json, say
from modelgrid.cli.patience import patiently
from modelgrid.cli.session import Session
from modelgrid.cli.systemd_unit import API_SOCKET, SERVICE, UI_SOCKET, UnitFacts, units
from modelgrid.cli.tables import NOTHING, facts
from modelgrid.cli.up import prepare_state
from modelgrid.config.file import load_config, write_atomically
from modelgrid.config.urls import in_url
from modelgrid.domain.errors import Forbidden, InvalidConfig, InvalidInput, ModelGridError

RELOAD_SECONDS = 60.0
RELOAD_POLL_SECONDS = 0.2
UNIT_DIR = Path("/etc/systemd/system")
BOOTED = Path("/run/systemd/system")
"""A folder that is there where systemd runs the machine (sd_booted(3))."""
_PROPERTIES = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "MainPID", "ExecMainStatus", "NRestarts",
    "ActiveEnterTimestamp",
)  # fmt: skip


class ServiceFailed(ModelGridError):
    """systemd refused or failed."""

    code = "service_failed"


def register(app: typer.Typer) -> None:
    noun = new_noun("The daemon as a systemd service.")
    verbs(noun, enable=enable, disable=disable, start=start, stop=stop, restart=restart, reload=reload)
    verbs(noun, status=show_status, logs=show_logs, unit=show_unit)
    app.add_typer(noun, name="service")


def enable(
    context: typer.Context,
    user: Annotated[str, typer.Option(help="User to run as; needs access to the container engine.")] = "root",
    now: Annotated[bool, typer.Option("--now/--no-now", help="Start it, too.")] = True,
    as_json: Json = False,
) -> None:
    """Install the units, and start the daemon now and at each boot."""
    _must_be_root()
    _systemctl_program()
    account = _account(user)
    session = session_of(context)
    written = units(_facts(session, user))
    prepare_state(session.state)
    _give(session.state, account)
    for path in write_units(written, UNIT_DIR):
        if not as_json:
            say(f"{path} written")
    _systemctl("daemon-reload")
    _systemctl("enable", *(["--now"] if now else []), API_SOCKET, UI_SOCKET, SERVICE)
    if as_json:
        print_json({"units": [str(UNIT_DIR / name) for name in written], "enabled": True, "started": now})
    elif now:
        say("Enabled and started. The first start prints the admin password: modelgrid service logs")
    else:
        say("Enabled. It starts at the next boot, or with: modelgrid service start")


def write_units(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write unit files, each whole or not at all; return their paths."""
    paths = []
    for name, text in texts.items():
        write_atomically(folder / name, text, mode=0o644)
        paths.append(folder / name)
    return paths


def disable(context: typer.Context, as_json: Json = False) -> None:
    """Stop the daemon, do not start it at boot, and remove the units. Engines are kept."""
    _must_be_root()
    session = session_of(context)
    there = [name for name in (SERVICE, API_SOCKET, UI_SOCKET) if (UNIT_DIR / name).exists()]
    if there:
        _systemctl("disable", "--now", *there)
    for name in there:
        (UNIT_DIR / name).unlink(missing_ok=True)
    if there:
        _systemctl("daemon-reload")
    if as_json:
        print_json({"units": [str(UNIT_DIR / name) for name in there], "enabled": False})
    elif there:
        say(f"Disabled. Engines run on; the state in {session.state} is kept.")
    else:
        say("It was not enabled; nothing was changed.")


def start(as_json: Json = False) -> None:
    """Start the daemon."""
    _act("start", SERVICE, as_json=as_json, said="Started. See: modelgrid status")


def stop(as_json: Json = False) -> None:
    """Stop the daemon and close its sockets. Engines are kept."""
    _act("stop", SERVICE, API_SOCKET, UI_SOCKET, as_json=as_json, said="Stopped. Engines run on.")


def restart(as_json: Json = False) -> None:
    """Restart the daemon. Sockets stay open, running requests finish, engines are kept."""
    _act("restart", SERVICE, as_json=as_json, said="Restarted. See: modelgrid status")


def reload(context: typer.Context, as_json: Json = False) -> None:
    """Replace the daemon's processes, which applies what waits for a restart. Needs neither root nor systemd.

    Sockets stay open, running requests finish, engines are kept. Returns when the new daemon answers."""
    with session_of(context).client() as client:
        asked = client.restart_daemon()
        deadline = time.monotonic() + RELOAD_SECONDS
        while (overview := patiently(client.overview, quiet=True))["started_at"] <= asked["started_at"]:
            if time.monotonic() > deadline:
                raise ServiceFailed(
                    f"The daemon was not replaced within {RELOAD_SECONDS:g} s; the old one answers.",
                    fix="Its log tells why: modelgrid logs --source daemon",
                )
            time.sleep(RELOAD_POLL_SECONDS)
        applied = [change["path"] for change in asked["pending_restart"]]
        waiting = [change["path"] for change in client.show_config()["pending_restart"]]
    if as_json:
        print_json({"started_at": overview["started_at"], "applied": applied, "pending_restart": waiting})
        return
    held = [path for path in applied if path not in waiting]
    say("Restarted." + (f" From now on hold: {', '.join(held)}." if held else ""), "green")
    if waiting:
        say(f"Still waiting: {', '.join(waiting)}. `modelgrid status` tells why.", "yellow")


def _act(verb: str, *names: str, as_json: bool, said: str) -> None:
    _systemctl(verb, *names)
    if as_json:
        print_json(_properties())
    else:
        say(said)


def show_status(as_json: Json = False) -> None:
    """Show what systemd says of the daemon. Exit status 1 when it does not run."""
    values = _properties()
    if as_json:
        print_json(values)
    else:
        active = values.get("ActiveState", "unknown")
        shape = STATE_STYLES.get({"inactive": "stopped"}.get(active, active), ("◌", ""))[0]
        facts(
            [
                ("Service", f"{shape} {active} ({values.get('SubState', NOTHING)})"),
                ("Since", values.get("ActiveEnterTimestamp") or NOTHING),
                ("At boot", values.get("UnitFileState") or "not installed"),
                ("Main process", {"0": NOTHING}.get(pid := values.get("MainPID", "0"), pid)),
                ("Last exit", f"status {values.get('ExecMainStatus', NOTHING)}"),
                ("Restarts", values.get("NRestarts", NOTHING)),
            ]
        )
        if values.get("LoadState") == "not-found":
            say("It is not installed. Install it with: modelgrid service enable")
        elif active != "active":
            say("Why: modelgrid service logs")
    if values.get("ActiveState") != "active":
        raise typer.Exit(1)


def _properties() -> dict[str, str]:
    text = _systemctl("show", "--property", ",".join(_PROPERTIES), SERVICE)
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def show_logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Lines from the end.")] = 200,
    as_json: Json = False,
) -> None:
    """Show the daemon's journal; with --json as journalctl writes it, one object per line."""
    program = shutil.which("journalctl")
    if program is None:
        raise ServiceFailed("journalctl is not installed.", fix="Without systemd the daemon logs to its terminal.")
    argv = [program, "--unit", SERVICE, "--lines", str(lines), *(["--follow"] if follow else ["--no-pager"])]
    argv += ["--output", "json"] if as_json else []
    sys.stdout.flush()
    os.execv(program, argv)  # noqa: S606


def show_unit(
    context: typer.Context,
    user: Annotated[str | None, typer.Option(help="User to run as; default: whoever asks.")] = None,
    as_json: Json = False,
) -> None:
    """Print the units without installing them."""
    texts = units(_facts(session_of(context), user or getpass.getuser()))
    if as_json:
        print_json({"items": [{"name": name, "text": text} for name, text in texts.items()]})
        return
    sys.stdout.write("\n".join(f"# {name}\n{text}" for name, text in texts.items()))


def _facts(session: Session, user: str) -> UnitFacts:
    config = load_config(session.config)
    program = Path(sys.executable).parent / "modelgrid"
    if not program.is_file():
        raise InvalidConfig(
            f"The program {program} is not a file.", fix="Install ModelGrid into this Python environment."
        )
    if set(str(program)) & set("\"'\\"):
        raise InvalidConfig(
            f"systemd starts no program with quotes in its path ({program}).", fix="Install ModelGrid elsewhere."
        )
    cache = config.docker.model_cache_dir
    state = session.state.absolute()
    outside = cache if cache and not Path(cache).absolute().is_relative_to(state) else None
    return UnitFacts(
        program=str(program),
        config=str(session.config.absolute()),
        state_dir=str(state),
        api_address=_address(config.api.host, config.api.port),
        ui_address=_address(config.api.ui_host, config.api.ui_port),
        user=user,
        model_cache_dir=outside,
    )


def _address(host: str, port: int) -> str:
    """Return an address as systemd.socket(5) takes it: names are not looked up there."""
    if host == "localhost":
        host = "127.0.0.1"
    return f"{in_url(host)}:{port}"


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise InvalidInput(
            f"There is no user {user!r} on this machine.",
            fix=f"Make one with: useradd --system --home-dir /var/lib/modelgrid {user}",
        ) from None


def _give(state_dir: Path, account: pwd.struct_passwd) -> None:
    """Make the state directory the service user's; what a daemon of another user left in it is left alone."""
    for folder in (state_dir, state_dir / "run"):
        if folder.stat().st_uid != account.pw_uid:
            os.chown(folder, account.pw_uid, account.pw_gid)


def _must_be_root() -> None:
    if os.geteuid() != 0:
        raise Forbidden("Units can be installed by root only.", fix="Run it with sudo.")


def _systemctl_program() -> str:
    """Return the path of systemctl. Raises `ServiceFailed` where systemd does not run."""
    program = shutil.which("systemctl")
    if program is None or not BOOTED.is_dir():
        raise ServiceFailed("systemd does not run here.", fix="Run `modelgrid up` under the supervisor that does.")
    return program


def _systemctl(*arguments: str) -> str:
    """Run systemctl; return its output. Raises `ServiceFailed`."""
    done = subprocess.run([_systemctl_program(), *arguments], check=False, text=True, capture_output=True)
    if done.returncode != 0:
        said = clean(done.stderr).strip() or f"exit status {done.returncode}"
        raise ServiceFailed(f"systemctl {arguments[0]} failed: {said}", fix="`modelgrid service logs` may say why.")
    return done.stdout
