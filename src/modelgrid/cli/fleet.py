"""`modelgrid status` and `modelgrid ps`: the whole at a glance."""

from typing import Annotated, Any

import typer
from rich.text import Text

from modelgrid.cli.output import Json, ago, clean, console, facts, print_json, status, table
from modelgrid.cli.session import session_of


def register(app: typer.Typer) -> None:
    app.command("status")(show_status)
    app.command()(ps)


def show_status(context: typer.Context, as_json: Json = False) -> None:
    """Tell whether all is well, and what needs somebody."""
    with session_of(context).client() as client:
        overview = client.overview()
    if as_json:
        print_json(overview)
        return
    counts = overview["deployments"]
    well = not overview["needs"]
    console.print(
        Text(
            "● All is well" if well else f"▲ {len(overview['needs'])} need attention",
            style="bold green" if well else "bold yellow",
        )
    )
    for need in overview["needs"]:
        console.print(Text(f"  {clean(need)}"), soft_wrap=True)
    facts(
        [
            (
                "Node",
                f"{overview['node']} ({overview['role']}), version {overview['version']}, up {ago(overview['started_at'])}",
            ),
            ("Engines", overview["platform"]),
            (
                "GPUs",
                f"{overview['gpus']}"
                + (" (simulated)" if overview["simulated"] else "")
                + (", readings are old" if overview["gpus_stale"] else ""),
            ),
            ("Deployments", ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"),
            (
                "API",
                f"{overview['api_url']}, {overview['gateways']} gateway(s), {overview['connections']} connection(s)",
            ),
            ("Console", overview["console_url"]),
        ]
    )


def ps(
    context: typer.Context,
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Show stopped ones too.")] = False,
    as_json: Json = False,
) -> None:
    """List deployments."""
    with session_of(context).client() as client:
        items = client.deployments()
    if as_json:
        print_json({"items": items})
        return
    shown = [item for item in items if show_all or item["state"] != "stopped"]
    table(
        ("deployment", "model", "state", "node", "gpus", "port", "age", "why"),
        (_row(item) for item in shown),
        empty="Nothing is deployed. Deploy a model with: modelgrid run MODEL   (modelgrid model list shows them)",
    )


def _row(item: dict[str, Any]) -> list[object]:
    gpus = ",".join(item["gpus"]) or "—"
    why = item["trouble"] or (
        item["phase"] or item["reason"] if item["state"] != "running" or item["unhealthy_since"] else ""
    )
    return [
        item["id"],
        item["model"],
        status(item["state"]),
        item["node"] or "—",
        f"{gpus} (simulated)" if item["simulated"] and item["gpus"] else gpus,
        item["port"] or "—",
        ago(item["created_at"]),
        why,
    ]
