"""`modelgrid doctor`: every check an operator would make, with the fix."""

import typer
from rich.text import Text

from modelgrid.cli.output import Json, clean, console, print_json, status
from modelgrid.cli.session import Session, session_of
from modelgrid.config.file import load_config
from modelgrid.domain.errors import ModelGridError


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(context: typer.Context, as_json: Json = False) -> None:
    """Check configuration, daemon, runtimes, GPUs, drivers, disks and gateway. Fails when one of them failed."""
    session = session_of(context)
    items = [_configuration(session), *_daemon(session)]
    failed = any(item["result"] == "failed" for item in items)
    if as_json:
        print_json({"items": items})
    else:
        for item in items:
            word = "ok" if item["result"] == "ok" else item["result"]
            line = status(word)
            line.append(f"  {clean(item['name'])}: ", style="bold default")
            line.append(clean(item["message"]), style="not bold default")
            console.print(line, soft_wrap=True)
            if item["fix"] and item["result"] != "ok":
                console.print(Text(f"      {clean(item['fix'])}"), soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _configuration(session: Session) -> dict[str, str]:
    try:
        load_config(session.config)
    except ModelGridError as error:
        return {"name": "config.json", "result": "failed", "message": error.message, "fix": error.fix}
    there = "is valid" if session.config.exists() else "does not exist; defaults are used"
    return {"name": "config.json", "result": "ok", "message": f"{session.config} {there}", "fix": ""}


def _daemon(session: Session) -> list[dict[str, str]]:
    try:
        with session.client() as client:
            checks = client.doctor()
    except ModelGridError as error:
        return [{"name": "daemon", "result": "failed", "message": error.message, "fix": error.fix}]
    return [{"name": "daemon", "result": "ok", "message": "answers", "fix": ""}, *checks]
