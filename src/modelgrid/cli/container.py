"""`modelgrid container …`: deployments, one by one."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from modelgrid.cli import complete
from modelgrid.cli.decision import show_decision
from modelgrid.cli.fleet import ps
from modelgrid.cli.logs import attach, events, logs
from modelgrid.cli.options import Json, OfModel, OfOrigin, OnNode, new_noun, session_of, verbs
from modelgrid.cli.output import ago, clean_line, fail, print_json, say, short, show, status
from modelgrid.cli.tables import NOTHING, Column, facts, heading, table
from modelgrid.cli.watch import wait_for_state, wait_until_gone
from modelgrid.client.http import ModelGridClient
from modelgrid.domain.errors import DaemonUnreachable, ModelGridError

if TYPE_CHECKING:
    from modelgrid.client.views import DeploymentDetail, DeploymentView, Failure

One = Annotated[str, typer.Argument(help="Deployment id, or its beginning.", autocompletion=complete.deployments)]
Many = Annotated[
    list[str], typer.Argument(help="Deployment ids, or their beginnings.", autocompletion=complete.deployments)
]
Wait = Annotated[bool, typer.Option("--wait", help="Return when it is done; fail when it does not come up.")]

Step = Callable[[ModelGridClient, str], "DeploymentView"]


def register(app: typer.Typer) -> None:
    noun = new_noun("Show, start, stop, restart, remove and follow deployments.")
    verbs(noun, list=ps, show=show_one, start=start, stop=stop, restart=restart, remove=remove)
    verbs(noun, logs=logs, attach=attach, events=events, history=history)
    app.add_typer(noun, name="container")


def show_one(context: typer.Context, deployment: One, as_json: Json = False) -> None:
    """Show a deployment: its state, configuration, and the decision that placed it."""
    with session_of(context).client() as client:
        item = client.show_deployment(deployment)
    if as_json:
        print_json(item)
        return
    spec = item["spec"]
    mounts = [f"{m['source']}:{m['target']}{'' if m['read_only'] else ':rw'}" for m in spec["mounts"]]
    facts(
        [
            ("Deployment", item["id"]),
            ("State", status(item["state"])),
            ("Why", item["trouble"] or item["phase"] or item["reason"]),
            ("Model", item["model"]),
            ("Target", f"{item['target']} (origin {item['origin']})"),
            ("Where", _where(item)),
            ("Engine", f"{item['runtime']} {item['engine_id'] or NOTHING}"),
            ("Answers at", item["engine_url"] or NOTHING),
            ("Attempt", item["attempt"]),
            ("Age", ago(item["created_at"])),
            ("Image", spec["image"] or "the vendor's"),
            ("Arguments", " ".join(spec["args"]) or "the catalog's"),
            ("Environment", ", ".join(spec["env"]) or NOTHING),
            ("Mounts", ", ".join(mounts) or NOTHING),
            ("Remote code", "the repository's code may run" if spec["trust_remote_code"] else "no"),
        ]
    )
    if item["decision"]:
        heading("Scheduling decision")
        show_decision(item["decision"])
    for failure in item["failures"]:
        _show_failure(failure)
    if item["state"] in {"failed", "restarting"}:
        say(f"\nIts output: modelgrid logs {item['id']}".strip())


def _where(item: "DeploymentDetail") -> str:
    place = " ".join([item["node"] or NOTHING, *item["gpus"]])
    return f"{place} (simulated)" if item["simulated"] and item["gpus"] else place


def _show_failure(failure: "Failure") -> None:
    diagnosis, ended = failure["diagnosis"], failure["exit"]
    how = ended["error"] or (f"signal {ended['signal']}" if ended["signal"] else f"exit code {ended['code']}")
    if ended["out_of_memory"]:
        how += ", out of host memory"
    show(Text(f"\nAttempt {failure['attempt']} failed {ago(ended['at'])} ago: {short(how, 500)}", style="bold red"))
    if diagnosis:
        facts([("Cause", diagnosis["cause"]), ("Remedy", diagnosis["remedy"]), ("Evidence", diagnosis["evidence"])])


def start(context: typer.Context, deployments: Many, wait: Wait = False, as_json: Json = False) -> None:
    """Start deployments that were stopped or given up."""
    _each(context, deployments, _acting("start", "running" if wait else None), as_json=as_json)


def stop(context: typer.Context, deployments: Many, wait: Wait = False, as_json: Json = False) -> None:
    """Stop deployments after their running requests finished; they keep their rows."""
    _each(context, deployments, _acting("stop", "stopped" if wait else None), as_json=as_json)


def restart(context: typer.Context, deployments: Many, wait: Wait = False, as_json: Json = False) -> None:
    """Give deployments a new engine, after their running requests finished."""
    _each(context, deployments, _acting("restart", "running" if wait else None), as_json=as_json)


def remove(
    context: typer.Context,
    deployments: Many,
    wait: Annotated[bool, typer.Option("--wait", help="Return when they are gone.")] = False,
    as_json: Json = False,
) -> None:
    """Drain, stop and remove deployments; their targets want one replica less."""

    def step(client: ModelGridClient, deployment: str) -> "DeploymentView":
        item = client.remove_deployment(deployment)
        if wait:
            wait_until_gone(client, item["id"])
        return item

    done = "is gone." if wait else "is being removed; its history stays: modelgrid container history"
    _each(context, deployments, step, as_json=as_json, told=lambda item: Text(f"{short(item['id'])} {done}"))


def _acting(action: Literal["start", "stop", "restart"], until: str | None) -> Step:
    def step(client: ModelGridClient, deployment: str) -> "DeploymentView":
        item = client.act(deployment, action)
        return wait_for_state(client, item["id"], until) if until else item

    return step


def _state_line(item: "DeploymentView") -> Text:
    return status(item["state"]).append(f"  {short(item['id'])}", style="default not dim")


def _each(
    context: typer.Context,
    deployments: list[str],
    step: Step,
    *,
    as_json: bool,
    told: "Callable[[DeploymentView], Text]" = _state_line,
) -> None:
    """Do `step` to each deployment. One that refuses does not keep the others from it; the worst exit status counts."""
    done, worst = [], 0
    with session_of(context).client() as client:
        for deployment in deployments:
            try:
                item = step(client, deployment)
            except DaemonUnreachable:
                raise
            except ModelGridError as error:
                worst = max(worst, fail(error, as_json=as_json))
            else:
                done.append(item)
                if not as_json:
                    show(told(item))
    if as_json:
        print_json({"items": done})
    if worst:
        raise typer.Exit(worst)


def history(
    context: typer.Context,
    deployment: Annotated[str | None, typer.Argument(help="One that ended, to see its last lines.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 50,
    before: Annotated[
        str | None, typer.Option(help="Only older ones: `next_before` of an answer with --json.", show_default=False)
    ] = None,
    model: OfModel = None,
    node: OnNode = None,
    origin: OfOrigin = None,
    as_json: Json = False,
) -> None:
    """List deployments that ended, with the reason; or show the last lines of one."""
    with session_of(context).client() as client:
        if deployment is not None:
            record = client.show_history(deployment)
            if as_json:
                print_json(record)
                return
            say(f"{record['id']} ended {ago(record['ended_at'])} ago: {record['reason']}")
            for line in record["last_lines"]:
                show(clean_line(line["text"]))
            return
        page = client.list_history(
            limit=limit, before=before, model=model, node=node, origin=origin.value if origin else None
        )
    items = page["items"]
    if as_json:
        print_json(page)
        return
    columns = (
        Column("deployment"),
        Column("model", drop=2),
        Column("node", drop=4),
        Column("ended"),
        Column("by", drop=3),
        Column("reason", drop=1, below=True),
    )
    table(
        columns,
        (
            [i["id"], i["model"], i["node"] or NOTHING, f"{ago(i['ended_at'])} ago", i["by"] or NOTHING, i["reason"]]
            for i in items
        ),
        empty="No deployment that ended is like that."
        if before or model or node or origin
        else "Nothing has ended yet. What runs: modelgrid ps",
    )
    if page["next_before"]:
        say(f"Older ones: modelgrid container history --before '{page['next_before']}'", "dim")
