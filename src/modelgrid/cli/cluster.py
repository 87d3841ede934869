"""`modelgrid cluster …`: nodes, what is desired of them, and how they come and go."""

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelgrid.cli import complete
from modelgrid.cli.cluster_join import join_without_daemon
from modelgrid.cli.options import EPILOG, Json, located, new_noun, session_of, verbs
from modelgrid.cli.output import ago, counted, errors, paragraph, print_json, say, show, status
from modelgrid.cli.run import run
from modelgrid.cli.tables import NOTHING, Column, facts, table
from modelgrid.domain.errors import DaemonUnreachable
from modelgrid.domain.units import format_bytes

if TYPE_CHECKING:
    from modelgrid.client.http import ModelGridClient
    from modelgrid.client.views import NodeView, TargetView

_NODES = (
    Column("node"),
    Column("role", drop=3),
    Column("status"),
    Column("heard", drop=1),
    Column("gpus", right=True),
    Column("vram free", right=True, drop=2),
    Column("url", drop=4),
    Column("version", drop=5),
    Column("note", below=True, drop=6),
)
_DESIRED = (
    Column("model"),
    Column("replicas", right=True),
    Column("where", drop=2),
    Column("origin", drop=3),
    Column("to do", drop=1),
)
Model = Annotated[str, typer.Argument(help="Model, by id or alias.", autocompletion=complete.models)]
Name = Annotated[str, typer.Argument(help="Node.", autocompletion=complete.nodes)]
DRAIN_POLL_SECONDS = 0.5


def register(app: typer.Typer) -> None:
    noun = new_noun("Nodes, what is desired of them, and how they come and go.")
    verbs(
        noun,
        status=show_status,
        nodes=list_nodes,
        placements=placements,
        desired=desired,
        ensure=run,
        clear=clear,
        cordon=cordon,
        drain=drain,
        activate=activate,
        invite=invite,
        join=join,
        leave=leave,
        remove=remove,
    )
    # `-1` is a number to be refused, and no option
    noun.command("scale", epilog=EPILOG, context_settings={"ignore_unknown_options": True})(located(scale))
    app.add_typer(noun, name="cluster")


def show_status(context: typer.Context, as_json: Json = False) -> None:
    """Tell this node's place in its cluster."""
    with session_of(context).client() as client:
        found = client.show_cluster()
    if as_json:
        print_json(found)
        return
    rows = [("Node", found["node"]), ("Role", found["role"]), ("Nodes", str(found["nodes"]))]
    if found["role"] == "worker":
        heard = f"answered {ago(found['answered_at'])} ago" if found["answered_at"] else "not heard yet"
        rows.append(("Control plane", f"{found['control_plane_url'] or NOTHING}, {heard}"))
        alone = ", on its own machine alone" * found["control_plane_console_private"]
        rows.append(("Its console", f"{found['control_plane_console_url'] or NOTHING}{alone}"))
    facts(rows)
    if found["problem"]:
        paragraph(found["problem"], style="yellow")


def list_nodes(context: typer.Context, as_json: Json = False) -> None:
    """List the nodes with what they have and how they are."""
    with session_of(context).client() as client:
        answer = client.list_nodes()
    if as_json:
        print_json(answer)
        return
    table(_NODES, (_node(item) for item in answer["items"]), empty="No node has spoken yet.")


def _node(item: "NodeView") -> list[object]:
    word = item["status"] if item["liveness"] == "ready" else item["liveness"]
    gpus = f"{item['gpus']}{' (simulated)' if item['simulated'] else ''}"
    return [
        item["name"],
        item["role"],
        status(word),
        f"{ago(item['heartbeat_at'])} ago" if item["heartbeat_at"] else NOTHING,
        gpus,
        f"{format_bytes(item['vram_free_bytes'])} of {format_bytes(item['vram_total_bytes'])}",
        item["advertise_url"],
        item["version"],
        item["problem"] or item["note"] or NOTHING,
    ]


def placements(context: typer.Context, as_json: Json = False) -> None:
    """Show where every model runs: a column per node."""
    with session_of(context).client() as client:
        answer, nodes = client.list_placements(), [node["name"] for node in client.list_nodes()["items"]]
    if as_json:
        print_json(answer)
        return
    rows = []
    for row in answer["items"]:
        cells: list[object] = []
        for node in nodes:
            here = [cell for cell in row["cells"] if cell["node"] == node]
            cells.append(", ".join(f"{cell['state']} {'+'.join(cell['gpus'])}".strip() for cell in here) or NOTHING)
        rows.append([row["target"], *cells])
    columns = (Column("model"), *(Column(name) for name in nodes))
    table(columns, rows, empty="Nothing is desired. Deploy a model with: modelgrid run")


def desired(context: typer.Context, as_json: Json = False) -> None:
    """List what is desired, and what is left to do for it."""
    with session_of(context).client() as client:
        answer = client.list_targets()
    if as_json:
        print_json(answer)
        return
    table(_DESIRED, (_target(item) for item in answer["items"]), empty="Nothing is desired: modelgrid run MODEL")


def _target(item: "TargetView") -> list[object]:
    constraints = item["constraints"]
    where = [constraints.get("node") or "", constraints.get("vendor") or ""]
    where += [f"{name}={value}" for name, value in sorted((constraints.get("labels") or {}).items())]
    where += [word for word in ("pack", "exclusive") if constraints.get(word)]
    return [
        item["name"],
        f"{item['running']}/{item['replicas']}",
        ", ".join(filter(None, where)) or "anywhere",
        item["origin"],
        ", ".join(item["pending"]) or NOTHING,
    ]


def scale(
    context: typer.Context,
    model: Model,
    replicas: Annotated[int, typer.Argument(help="Instances to keep running.", min=0)],
    as_json: Json = False,
) -> None:
    """Change how many instances of a model are kept running."""
    with session_of(context).client() as client:
        target = client.scale_target(model, {"replicas": replicas})
    if as_json:
        print_json(target)
    else:
        say(f"{target['name']}: {counted(target['replicas'], 'replica', 'replicas')} desired.")


def clear(context: typer.Context, model: Model, as_json: Json = False) -> None:
    """Want a model no more: its instances finish their requests and end."""
    with session_of(context).client() as client:
        target = client.delete_target(model)
    if as_json:
        print_json(target)
    else:
        say(f"{target['name']} is not desired any more.")


def cordon(context: typer.Context, node: Name, as_json: Json = False) -> None:
    """Place nothing new on a node; what runs there stays."""
    _act(context, node, "cordon", as_json=as_json)


def activate(context: typer.Context, node: Name, as_json: Json = False) -> None:
    """Place on a node again."""
    _act(context, node, "activate", as_json=as_json)


def drain(
    context: typer.Context,
    node: Name,
    wait: Annotated[bool, typer.Option("--wait", help="Return when nothing is left there.")] = False,
    timeout: Annotated[float | None, typer.Option(min=1, help="With --wait: give up after so many seconds.")] = None,
    as_json: Json = False,
) -> None:
    """Place nothing new on a node and move what runs there, one by one, replacements first."""
    _act(context, node, "drain", as_json=as_json and not wait)
    with session_of(context).client() as client:
        if not as_json:
            _tell_when_nobody_takes_it(client, node)
        if not wait:
            return
        left = _wait_drained(client, node, timeout)
        if as_json:
            print_json({"node": node, "left": left})
        elif left:
            say(f"{node} still has {', '.join(left)}.", "yellow")
        else:
            say(f"{node} is empty.", "green")
    if left:
        raise typer.Exit(1)


def _tell_when_nobody_takes_it(client: "ModelGridClient", node: str) -> None:
    """Say so when no other node is open for what runs on a node that is drained: it serves on, and waits for one."""
    others = [item for item in client.list_nodes()["items"] if item["name"] != node]
    if any(item["status"] == "active" and item["liveness"] == "ready" for item in others):
        return
    placed = sum(item["node"] == node for item in client.list_deployments()["items"])
    if placed:
        say(f"No other node is open for its {counted(placed, 'deployment')}: what runs there serves on.", "yellow")
        say(f"Activate or add another node, or take {node} back with `modelgrid cluster activate {node}`.")


def _wait_drained(client: "ModelGridClient", node: str, timeout: float | None) -> list[str]:
    deadline = time.monotonic() + timeout if timeout is not None else None
    while True:
        left = [item["id"] for item in client.list_deployments()["items"] if item["node"] == node]
        if not left or (deadline is not None and time.monotonic() > deadline):
            return left
        time.sleep(DRAIN_POLL_SECONDS)


def _act(context: typer.Context, node: str, action: Literal["cordon", "drain", "activate"], *, as_json: bool) -> None:
    with session_of(context).client() as client:
        found = client.act_on_node(node, action)
    if as_json:
        print_json(found)
    else:
        say(f"{found['name']} is {found['status']}.")


def invite(context: typer.Context, as_json: Json = False) -> None:
    """Make an invitation for one node, and show what to run there."""
    with session_of(context).client() as client:
        made = client.invite_node()
    if as_json:
        print_json(made)
        return
    say("Run this on the new node; the invitation is good once, for 15 minutes:")
    show(made["command"], "bold", errors)
    say("\nOn a machine without ModelGrid:")
    show(made["install"], "bold", errors)
    say("\nIts config.json will have:")
    for line in made["config"].splitlines():
        show(line, to=errors)


def join(
    context: typer.Context,
    control_plane: Annotated[str, typer.Argument(metavar="URL", help="The control plane, https://host:8082.")],
    invitation: Annotated[str, typer.Argument(help="What Add node or `cluster invite` gave, mgj-….")],
    as_json: Json = False,
) -> None:
    """Make this node a worker of a control plane.

    What runs here goes on, and is the control plane's from then on. Where no daemon runs yet, the next one is a
    worker."""
    session = session_of(context)
    try:
        with session.client() as client:
            joined = client.join_cluster({"url": control_plane, "token": invitation})
            name, then = joined["control_plane"], "The daemon restarts as its worker."
    except DaemonUnreachable:
        if session.url is not None:
            raise
        name = asyncio.run(join_without_daemon(session, control_plane, invitation))
        then = "Start the daemon with `modelgrid up` or `modelgrid service enable`."
    if as_json:
        print_json({"control_plane": name, "url": control_plane})
    else:
        say(f"This node belongs to {name} now. {then}", "green")


def leave(context: typer.Context, as_json: Json = False) -> None:
    """Make this worker a node of its own again. Its engines run on."""
    with session_of(context).client() as client:
        left = client.leave_cluster()
    if as_json:
        print_json(left)
    else:
        say("This node stands alone now; the daemon restarts. What runs here goes on.")


def remove(
    context: typer.Context,
    node: Name,
    force: Annotated[bool, typer.Option("--force", help="Also a node that is there and has deployments.")] = False,
    as_json: Json = False,
) -> None:
    """Take a node out of the cluster, one that is lost for good for example."""
    with session_of(context).client() as client:
        removed = client.remove_node(node, force=force)
    if as_json:
        print_json(removed)
    else:
        say(f"{removed['name']} does not belong to the cluster any more.")
