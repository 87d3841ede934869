"""`modelgrid logs`, `container attach` and `container events`: what deployments say and go through."""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from modelgrid.cli import complete
from modelgrid.cli.log_of_everything import LONG_POLL_SECONDS, LogLevel, log_of_everything, moment
from modelgrid.cli.options import Json, session_of, verbs
from modelgrid.cli.output import (
    LONGEST_MESSAGE,
    NARROWEST,
    clean_line,
    console,
    errors,
    print_json,
    print_json_line,
    say,
    short,
    show,
    status,
    wrapped,
)
from modelgrid.cli.patience import patiently
from modelgrid.client.http import ModelGridClient
from modelgrid.domain.errors import InvalidInput, NotFound
from modelgrid.domain.units import format_duration

if TYPE_CHECKING:
    from modelgrid.client.views import DeploymentView, EventView, LogLineView

POLL_SECONDS = 0.4
NO_WISH: Mapping[str, Any] = {}
STATE_POLL_SECONDS = 1.0
ALL_LINES = 5000
"""As many as the daemon gives at once."""

_LEVEL_STYLES = {"warning": "yellow", "error": "red", "debug": "dim"}

Deployment = Annotated[
    str,
    typer.Argument(help="Deployment id, or its beginning; also one that is gone.", autocompletion=complete.deployments),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones; --json prints one per line.")]
Tail = Annotated[int, typer.Option("--tail", "-n", min=0, max=ALL_LINES, help="Lines from the end.")]


def register(app: typer.Typer) -> None:
    verbs(app, logs=logs)


def logs(
    context: typer.Context,
    deployment: Annotated[
        str | None,
        typer.Argument(
            help="Deployment id, or its beginning; also one that is gone. Without one: the log of everything.",
            autocompletion=complete.deployments,
        ),
    ] = None,
    follow: Follow = False,
    tail: Tail = 200,
    source: Annotated[
        list[str] | None,
        typer.Option(help="daemon, scheduler, gateway, deployment or deployment:ID; repeatable.", show_default=False),
    ] = None,
    node: Annotated[
        str | None,
        typer.Option(help="Whose log; default: of the node asked.", autocompletion=complete.nodes, show_default=False),
    ] = None,
    level: Annotated[LogLevel | None, typer.Option(help="The least severe level.", show_default=False)] = None,
    grep: Annotated[str | None, typer.Option(help="Only lines that match this regular expression (RE2).")] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="AGE|TIME", help="Not before: an age as 90s, 15m, 2h, 7d, or an ISO 8601 time."),
    ] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Put the time before each line of an engine.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print an engine's output, or the log of everything.

    Following goes on over restarts of the engine and of the daemon, and ends when the deployment is removed."""
    wanted: dict[str, Any] = {"level": level.value if level else None, "grep": grep, "since": moment(since)}
    with session_of(context).client() as client:
        if deployment is None:
            log_of_everything(client, {**wanted, "source": source, "node": node}, tail, follow=follow, as_json=as_json)
            return
        if source or node:
            raise InvalidInput(
                "A deployment's output has one source.",
                fix="Leave out either the deployment, or --source and --node.",
            )
        name = deployment
        page = client.deployment_logs(name, tail=tail, **wanted)
        items = page["items"]
        if not follow:
            if as_json:
                print_json({"items": items})
                return
            for line in items:
                _print_line(line, timestamps=timestamps, as_json=False)
            if not items:
                say(f"No output of {name}" + (" is like that." if any(wanted.values()) else " yet."))
            return
        for line in items:
            _print_line(line, timestamps=timestamps, as_json=as_json)
        for new in _new_lines(client, name, page["next_after"], LONG_POLL_SECONDS, wanted):
            if new is not None:
                _print_line(new, timestamps=timestamps, as_json=as_json)


def _new_lines(
    client: ModelGridClient, deployment: str, after: int, wait: float, wanted: Mapping[str, Any] = NO_WISH
) -> "Iterator[LogLineView | None]":
    """Yield each new line until the deployment is gone, and `None` after each page."""
    while True:
        page = patiently(partial(client.deployment_logs, deployment, after=after, wait=wait, **wanted))
        yield from page["items"]
        after = page["next_after"]
        yield None
        if not page["items"] and _gone(client, deployment):
            return


def _gone(client: ModelGridClient, deployment: str) -> bool:
    try:
        patiently(lambda: client.show_deployment(deployment))
    except NotFound:
        return True
    return False


def _print_line(line: "LogLineView", *, timestamps: bool, as_json: bool) -> None:
    if as_json:
        print_json_line(line)
        return
    text = Text(clean_line(line["text"]))
    if timestamps:
        moment = datetime.fromtimestamp(line["at"]).astimezone()
        text = Text(moment.isoformat(timespec="milliseconds") + "  ", style="dim").append_text(
            Text(text.plain, style="not dim")
        )
    show(text)
    console.file.flush()


def attach(
    context: typer.Context,
    deployment: Annotated[
        str, typer.Argument(help="Deployment id, or its beginning.", autocompletion=complete.deployments)
    ],
    tail: Tail = 10,
    as_json: Json = False,
) -> None:
    """Follow the live output of a deployment and its changes of state, until it ends.

    Ctrl-C detaches; the engine runs on. Exit status 1 when it failed, 0 when it was stopped or removed."""
    with session_of(context).client() as client:
        item = client.show_deployment(deployment)
        name = item["id"]
        page = client.deployment_logs(name, tail=tail)
        if not as_json:
            said = Text("Attached to ", style="dim").append(short(name), style="bold not dim").append(" (")
            show(said.append_text(status(item["state"])).append("). Ctrl-C detaches; the engine runs on."), to=errors)
        for line in page["items"]:
            _print_line(line, timestamps=False, as_json=as_json)
        try:
            final = _attached(client, item, page["next_after"], as_json=as_json)
        except KeyboardInterrupt:
            if not as_json:
                say(f"Detached; {name} runs on. Stop it with: modelgrid container stop {name}")
            raise
    if final == "failed":
        if not as_json:
            say(f"See: modelgrid container show {name}")
        raise typer.Exit(1)


def _attached(client: ModelGridClient, item: "DeploymentView", after: int, *, as_json: bool) -> str:
    """Print output and changes until the deployment ended; return how."""
    name, state = item["id"], item["state"]
    ended = state in {"failed", "stopped"}
    for line in _new_lines(client, name, after, 0.0 if ended else STATE_POLL_SECONDS):
        if line is not None:
            _print_line(line, timestamps=False, as_json=as_json)
            continue
        if ended:
            return str(state)
        try:
            item = patiently(lambda: client.show_deployment(name))
        except NotFound:
            break
        if item["state"] != state:
            state = item["state"]
            _say_state(item, as_json=as_json)
        # What the engine said last may come after the news that it ended: one more page is read.
        ended = state in {"failed", "stopped"}
    if not as_json:
        say(f"{name} is gone.")
    return "gone"


def _say_state(item: "DeploymentView", *, as_json: bool) -> None:
    if as_json:
        print_json_line({"at": time.time(), "state": item["state"], "reason": item["reason"]})
    else:
        show(status(item["state"]).append(f"  {short(item['reason'])}", style="dim"), to=errors)


def events(context: typer.Context, deployment: Deployment, follow: Follow = False, as_json: Json = False) -> None:
    """Print the timeline of a deployment, with the time between steps."""
    before: float | None = None
    with session_of(context).client() as client:
        if as_json and not follow:
            print_json({"items": list(_events(client, deployment, follow=False))})
            return
        for event in _events(client, deployment, follow=follow):
            if as_json:
                print_json_line(event)
            else:
                _print_event(event, before)
                before = event["at"]


def _print_event(event: "EventView", before: float | None) -> None:
    took = f"+{format_duration(event['at'] - before)}" if before is not None else ""
    moment = datetime.fromtimestamp(event["at"]).astimezone()
    today = moment.date() == datetime.now().astimezone().date()
    line = Text(f"{moment:%H:%M:%S}" if today else f"{moment:%Y-%m-%d %H:%M:%S}", style="dim")
    line.append(f"  {took:>8}  ")
    line.append(f"{short(event['kind']):<17}  ", style=f"not dim {_LEVEL_STYLES.get(event['level'], 'bold')}")
    indent = line.cell_len
    line.append(short(event["message"], LONGEST_MESSAGE), style="default not dim")
    if event["by"] and not event["message"].endswith(f"by {event['by']}"):
        line.append(f"  by {short(event['by'])}")
    _hanging(line, indent)
    console.file.flush()


def _hanging(line: Text, indent: int) -> None:
    """Print a line whose continuation stands below its last column."""
    if not console.is_terminal or line.cell_len <= console.width:
        show(line)
        return
    head, rest = line[:indent], line[indent:]
    for number, part in enumerate(wrapped(rest, max(console.width - indent, NARROWEST), console)):
        show((head if number == 0 else Text(" " * indent)).copy().append_text(part))


def _events(client: ModelGridClient, deployment: str, *, follow: bool) -> "Iterator[EventView]":
    after = 0
    while True:
        ask = partial(client.deployment_events, deployment, after=after)
        page = patiently(ask) if follow else ask()
        yield from page["items"]
        after = page["next_after"]
        if not page["items"]:
            if not follow or _gone(client, deployment):
                return
            time.sleep(POLL_SECONDS)
