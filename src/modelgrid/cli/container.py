"""`modelgrid container …` and `modelgrid logs`: deployments, one by one."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from modelgrid.cli.fleet import ps
from modelgrid.cli.output import Json, ago, clean, console, facts, print_json, say, status, table
from modelgrid.cli.run import POLL_SECONDS, show_decision, waits_until_gone
from modelgrid.cli.session import session_of
from modelgrid.client.http import ModelGridClient
from modelgrid.domain.units import format_duration

Deployment = Annotated[str, typer.Argument(help="Deployment id, or its beginning.")]
Many = Annotated[list[str], typer.Argument(help="Deployment ids, or their beginnings.")]

_LEVEL_STYLES = {"warning": "yellow", "error": "red", "debug": "dim"}


def register(app: typer.Typer) -> None:
    noun = typer.Typer(
        help="Deployments: list, show, start, stop, restart, remove, logs, events.", no_args_is_help=True
    )
    noun.command("list")(ps)
    noun.command()(show)
    noun.command()(start)
    noun.command()(stop)
    noun.command()(restart)
    noun.command()(remove)
    noun.command()(logs)
    noun.command()(events)
    noun.command()(history)
    app.add_typer(noun, name="container")
    app.command()(logs)


def show(context: typer.Context, deployment: Deployment, as_json: Json = False) -> None:
    """Show a deployment: its state, configuration, and the decision that placed it."""
    with session_of(context).client() as client:
        item = client.deployment(deployment)
    if as_json:
        print_json(item)
        return
    spec = item["spec"]
    facts(
        [
            ("Deployment", item["id"]),
            ("State", status(item["state"])),
            ("Why", item["trouble"] or item["phase"] or item["reason"]),
            ("Model", item["model"]),
            ("Target", f"{item['target']} (origin {item['origin']})"),
            ("Where", " ".join([item["node"] or "—", *item["gpus"]]) + (" (simulated)" if item["simulated"] else "")),
            ("Engine", f"{item['runtime']} {item['engine_id'] or '—'}"),
            ("Answers at", item["engine_url"] or "—"),
            ("Attempt", item["attempt"]),
            ("Age", ago(item["created_at"])),
            ("Image", spec["image"] or "the vendor's"),
            ("Arguments", " ".join(spec["args"]) or "the catalog's"),
            ("Environment", ", ".join(spec["env"]) or "—"),
        ]
    )
    if item["decision"]:
        console.print("\nScheduling decision", style="bold")
        show_decision(item["decision"])
    for failure in item["failures"]:
        diagnosis, ended = failure["diagnosis"], failure["exit"]
        how = ended["error"] or (f"signal {ended['signal']}" if ended["signal"] else f"exit code {ended['code']}")
        console.print(Text(f"\nAttempt {failure['attempt']} failed: {clean(how)}", style="bold red"))
        if diagnosis:
            facts([("Cause", diagnosis["cause"]), ("Remedy", diagnosis["remedy"]), ("Evidence", diagnosis["evidence"])])


def start(context: typer.Context, deployments: Many, as_json: Json = False) -> None:
    """Start deployments that were stopped or given up."""
    _act(context, deployments, "start", as_json=as_json)


def stop(context: typer.Context, deployments: Many, as_json: Json = False) -> None:
    """Stop deployments after their running requests finished; they keep their rows."""
    _act(context, deployments, "stop", as_json=as_json)


def restart(context: typer.Context, deployments: Many, as_json: Json = False) -> None:
    """Give deployments a new engine, after their running requests finished."""
    _act(context, deployments, "restart", as_json=as_json)


def remove(
    context: typer.Context,
    deployments: Many,
    wait: Annotated[bool, typer.Option("--wait", help="Return when they are gone.")] = False,
    as_json: Json = False,
) -> None:
    """Drain, stop and remove deployments; their targets want one replica less."""
    with session_of(context).client() as client:
        items = [client.remove(deployment) for deployment in deployments]
        if wait:
            for item in items:
                waits_until_gone(client, item["id"])
    if as_json:
        print_json({"items": items})
        return
    for item in items:
        say(f"{item['id']} " + ("is gone." if wait else "is being removed. See: modelgrid ps"))


def _act(context: typer.Context, deployments: list[str], action: str, *, as_json: bool) -> None:
    with session_of(context).client() as client:
        items = [client.act(deployment, action) for deployment in deployments]
    if as_json:
        print_json({"items": items})
        return
    for item in items:
        console.print(Text(f"{clean(item['id'])}  ").append_text(status(item["state"])))


def logs(
    context: typer.Context,
    deployment: Annotated[str, typer.Argument(help="Deployment id, or its beginning; also one that is gone.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    tail: Annotated[int, typer.Option(min=0, help="Lines from the end.")] = 200,
    grep: Annotated[str | None, typer.Option(help="Only lines that contain this.")] = None,
    as_json: Json = False,
) -> None:
    """Print the engine's output."""
    with session_of(context).client() as client:
        lines = (
            client.follow_logs(deployment, tail=tail) if follow else iter(client.logs(deployment, tail=tail)["items"])
        )
        for line in lines:
            if grep is not None and grep not in line["text"]:
                continue
            if as_json:
                print_json(line)
            else:
                console.print(Text(clean(line["text"])), soft_wrap=True)


def events(
    context: typer.Context,
    deployment: Annotated[str, typer.Argument(help="Deployment id, or its beginning; also one that is gone.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new events.")] = False,
    as_json: Json = False,
) -> None:
    """Print the timeline of a deployment, with the time between steps."""
    before: float | None = None
    with session_of(context).client() as client:
        for event in _events(client, deployment, follow=follow):
            if as_json:
                print_json(event)
                continue
            took = f"+{format_duration(event['at'] - before)}" if before is not None else ""
            before = event["at"]
            moment = datetime.fromtimestamp(event["at"]).astimezone().strftime("%H:%M:%S")
            line = Text(f"{moment}  {took:>8}  ", style="dim")
            line.append(f"{clean(event['kind']):<18}", style=_LEVEL_STYLES.get(event["level"], "bold"))
            line.append(clean(event["message"]), style="default not bold")
            console.print(line, soft_wrap=True)


def _events(client: ModelGridClient, deployment: str, *, follow: bool) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        page = client.events(deployment, after=after)
        yield from page["items"]
        after = page["next_after"]
        if not page["items"]:
            if not follow:
                return
            time.sleep(POLL_SECONDS)


def history(
    context: typer.Context,
    deployment: Annotated[str | None, typer.Argument(help="One that ended, to see its last lines.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List deployments that ended, with the reason; or show the last lines of one."""
    with session_of(context).client() as client:
        if deployment is not None:
            record = client.history_record(deployment)
            if as_json:
                print_json(record)
                return
            say(f"{record['id']} ended {ago(record['ended_at'])} ago: {record['reason']}")
            for line in record["last_lines"]:
                console.print(Text(clean(line["text"])), soft_wrap=True)
            return
        items = client.history(limit=limit)
    if as_json:
        print_json({"items": items})
        return
    table(
        ("deployment", "model", "node", "ended", "by", "reason"),
        (
            [i["id"], i["model"], i["node"] or "—", f"{ago(i['ended_at'])} ago", i["by"] or "—", i["reason"]]
            for i in items
        ),
        empty="Nothing has ended yet.",
    )
