"""`modelgrid doctor`: every check an operator would make, with the fix."""

import socket
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from modelgrid.cli.gpu_local import read_drivers
from modelgrid.cli.options import Json, session_of, verbs
from modelgrid.cli.output import LONGEST_MESSAGE, console, counted, paragraph, print_json, short, show, status
from modelgrid.cli.session import Session
from modelgrid.config.file import load_config
from modelgrid.config.model import Config
from modelgrid.domain.errors import DaemonUnreachable, ModelGridError
from modelgrid.listening import PORT_KEYS, remedy

if TYPE_CHECKING:
    from modelgrid.client.views import Check, Result


def register(app: typer.Typer) -> None:
    verbs(app, doctor=doctor)


def doctor(context: typer.Context, as_json: Json = False) -> None:
    """Make every check an operator would make, with the fix.

    Configuration, daemon, runtimes, GPUs, drivers, disks, gateway. Exit status 1 when a check failed."""
    session = session_of(context)
    items = _checks(session)
    failed = sum(item["result"] == "failed" for item in items)
    if as_json:
        print_json({"items": items})
    else:
        _show(items)
    if failed:
        raise typer.Exit(1)


def _show(items: "list[Check]") -> None:
    widest = max(len(short(item["name"])) for item in items)
    for item in items:
        line = status(item["result"])
        line.append(" " * (11 - line.cell_len) + f"{short(item['name']):<{widest}}  ", style="bold default")
        room = console.width - line.cell_len
        if console.is_terminal and len(short(item["message"], LONGEST_MESSAGE)) > room:
            show(line)
            paragraph(item["message"], indent=11)
        else:
            show(line.append(short(item["message"], LONGEST_MESSAGE), style="not bold default"))
        if item["fix"] and item["result"] != "ok":
            paragraph(item["fix"], indent=11, style="bold")
    counts = {word: sum(item["result"] == word for item in items) for word in ("ok", "warning", "failed")}
    said = f"\n{counted(len(items), 'check')}: {counts['ok']} ok"
    said += f", {counted(counts['warning'], 'warning')}" if counts["warning"] else ""
    said += f", {counts['failed']} failed" if counts["failed"] else ""
    show(Text(said, style="red" if counts["failed"] else "yellow" if counts["warning"] else "green"))


def _check(name: str, result: "Result", message: str, fix: str = "") -> "Check":
    return {"name": name, "result": result, "message": message, "fix": fix}


def _checks(session: Session) -> "list[Check]":
    found: list[Check] = []
    config: Config | None = None
    if session.url is None:
        try:
            config = load_config(session.config)
        except ModelGridError as error:
            found.append(_check("config.json", "failed", error.message, error.fix))
        else:
            there = "is valid" if session.config.exists() else "does not exist; defaults are used"
            found.append(_check("config.json", "ok", f"{session.config} {there}"))
    try:
        with session.client() as client:
            checks = client.doctor()["items"]
    except DaemonUnreachable as error:
        found.append(_check("daemon", "failed", error.message, error.fix))
        return found if session.url is not None else [*found, *_without_daemon(config)]
    except ModelGridError as error:
        return [*found, _check("daemon", "failed", error.message, error.fix)]
    return [*found, _check("daemon", "ok", "answers"), *checks]


def _without_daemon(config: Config | None) -> "list[Check]":
    """Check what can be told without a daemon, and what may keep it from starting."""
    found: list[Check] = []
    if config is not None:
        found.append(_port("api", config.api.host, config.api.port))
        found.append(_port("ui", config.api.ui_host, config.api.ui_port))
    for report in read_drivers():
        found += [
            _check(f"driver {report['vendor']}", "failed", issue["message"], issue["fix"])
            for issue in report["issues"]
            if report["hardware_present"]
        ]
    return found


def _port(name: str, host: str, port: int) -> "Check":
    """Tell whether the daemon could listen there."""
    key = PORT_KEYS[name]
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return _check(key, "failed", f"{host}:{port} cannot be used: {error.strerror}", remedy(error, name, port))
    return _check(key, "ok", f"{host}:{port} is free")
