"""`modelgrid run MODEL`: deploys a model and shows how it comes up."""

import time
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from modelgrid.cli.output import Json, clean, console, errors, print_json, say, status
from modelgrid.cli.session import session_of
from modelgrid.client.http import ModelGridClient
from modelgrid.domain.errors import InvalidInput, ModelGridError, NotFound
from modelgrid.domain.units import format_bytes, format_duration

POLL_SECONDS = 0.4

SETTLED = frozenset({"running", "failed", "stopped"})


class NotRunning(ModelGridError):
    """What was waited for did not come to run."""

    code = "not_running"


def register(app: typer.Typer) -> None:
    app.command()(run)


def run(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model, by id or alias (`modelgrid model list`).")],
    replicas: Annotated[int, typer.Option(min=0, help="Instances to keep running.")] = 1,
    node: Annotated[str | None, typer.Option(help="Only on this node.")] = None,
    gpu: Annotated[list[str] | None, typer.Option(help="Pin a GPU (repeat for more), for example nvidia-0.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs per instance; 0 runs on the CPU.")] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE for the engine; repeat for more.")
    ] = None,
    context_length: Annotated[int | None, typer.Option("--context", min=1, help="Tokens per sequence.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Sequences of full length that the KV cache has to hold.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="Engine image in place of the vendor's.")] = None,
    arg: Annotated[
        list[str] | None, typer.Option(help="Further argument of `vllm serve`, as --arg=--name=value.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let the model run code from its repository.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show where it would land, and do nothing.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it is accepted.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it runs; fails when it does not come up.")] = False,
    as_json: Json = False,
) -> None:
    """Deploy a model and keep it running."""
    wish: dict[str, Any] = {
        "replicas": replicas,
        "node": node,
        "gpus": gpu or [],
        "gpu_count": gpus,
        "env": _environment(env or []),
        "context": context_length,
        "concurrency": concurrency,
        "image": image,
        "args": arg or [],
        "trust_remote_code": trust_remote_code,
    }
    with session_of(context).client() as client:
        if dry_run:
            show_preview(client.preview(model, wish), as_json=as_json)
            return
        target = client.ensure(model, wish)
        if wait or (console.is_terminal and not detach and not as_json):
            _watch(client, target["name"], quiet=as_json, fail=wait)
            target = client.target(target["name"])
        if as_json:
            print_json(target)
        elif detach or not (wait or console.is_terminal):
            say(f"{target['name']}: {target['replicas']} desired. Follow it with: modelgrid ps")


def _environment(pairs: list[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--env {pair!r} is not NAME=VALUE.", fix="For example: --env HF_TOKEN=hf_…")
        values[name] = value
    return values


def show_preview(preview: dict[str, Any], *, as_json: bool) -> None:
    """Print where a wish would land, with every GPU that was looked at."""
    if as_json:
        print_json(preview)
        return
    if not preview["decisions"]:
        console.print(f"{clean(preview['model'])}: nothing would change.")
    for decision in preview["decisions"]:
        show_decision(decision)


def show_decision(decision: dict[str, Any]) -> None:
    """Print one scheduling decision: the need term by term, then each GPU with its reason."""
    placed = decision["node"] is not None
    console.print(
        Text(("● " if placed else "✕ ") + clean(decision["summary"]), style="green" if placed else "red"),
        soft_wrap=True,
    )
    rows = Table.grid(padding=(0, 2, 0, 0))
    for term in decision["need"]["terms"]:
        rows.add_row(
            "  ",
            Text(clean(term["name"])),
            Text(format_bytes(term["bytes"]), justify="right"),
            Text(clean(term["formula"]), style="dim"),
        )
    console.print(rows)
    for verdict in decision["verdicts"]:
        where = " ".join(str(part) for part in (verdict["node"], verdict["gpu"]) if part)
        console.print(
            Text(f"    {'●' if verdict['chosen'] else '○'} {clean(where)}: {clean(verdict['reason'])}"), soft_wrap=True
        )


def _watch(client: ModelGridClient, target: str, *, quiet: bool, fail: bool) -> None:
    """Show the target's deployments until each has settled. Ctrl-C leaves them at it."""
    seen: dict[str, str] = {}
    try:
        with Live(console=errors, refresh_per_second=8, transient=True) as live:
            while True:
                view = client.target(target)
                items = [item for item in view["deployments"] if item["intent"] == "run"]
                if not quiet:
                    live.update(Group(*(_line(item) for item in items)))
                    _say_changes(items, seen)
                if len(items) >= view["replicas"] and all(_settled(item) for item in items):
                    break
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        say(
            f"It goes on without you. Follow it with: modelgrid ps; take it back with: modelgrid container remove {next(iter(seen), 'ID')}"
        )
        raise
    bad = [item for item in items if item["state"] != "running"]
    if bad and (fail or any(item["state"] == "failed" for item in bad)):
        raise NotRunning(
            f"{bad[0]['id']} is {bad[0]['state']}: {bad[0]['reason']}",
            fix=f"See: modelgrid container show {bad[0]['id']}, modelgrid logs {bad[0]['id']}",
        )
    if not quiet:
        for item in bad:
            say(f"{item['id']} waits: {item['reason']}. It starts as soon as it fits.")


def _settled(item: dict[str, Any]) -> bool:
    """Whether nothing more will happen by itself soon: a pending one without a place waits for the operator."""
    return item["state"] in SETTLED or (
        item["state"] == "pending" and item["node"] is None and time.time() - item["created_at"] > 2
    )


def _say_changes(items: list[dict[str, Any]], seen: dict[str, str]) -> None:
    for item in items:
        if seen.get(item["id"]) == item["state"]:
            continue
        seen[item["id"]] = item["state"]
        line = Text("  ").append_text(status(item["state"])).append(f"  {clean(item['id'])}")
        if item["state"] == "running" and item["ready_at"] and item["created_at"]:
            line.append(f"  ready after {format_duration(item['ready_at'] - item['created_at'])}", style="dim")
        elif item["state"] in {"failed", "restarting"} or (item["state"] == "pending" and item["node"] is None):
            line.append(f"  {clean(item['reason'])}", style="dim")
        elif item["node"]:
            line.append(f"  {clean(item['node'])} {clean(','.join(item['gpus']))}", style="dim")
        errors.print(line, soft_wrap=True)


def _line(item: dict[str, Any]) -> Table:
    row = Table.grid(padding=(0, 1, 0, 0))
    pull = item["pull"]
    if pull and pull["layers"]:
        done = sum(layer["done_bytes"] for layer in pull["layers"])
        total = sum(layer["total_bytes"] or layer["done_bytes"] for layer in pull["layers"])
        row.add_row(
            "   ",
            ProgressBar(total=max(total, 1), completed=done, width=30),
            f"{format_bytes(done)} of {format_bytes(total)}",
        )
    else:
        row.add_row("   ", Text(clean(item["phase"] or item["reason"]), style="dim", overflow="ellipsis", no_wrap=True))
    return row


def waits_until_gone(client: ModelGridClient, deployment: str) -> None:
    """Return when a deployment that is being removed has left the list."""
    while True:
        try:
            client.deployment(deployment)
        except NotFound:
            return
        time.sleep(POLL_SECONDS)
