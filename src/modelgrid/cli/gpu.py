"""`modelgrid gpu …`."""

from typing import Annotated

import typer
from rich.text import Text

from modelgrid.cli.output import Json, clean, console, print_json, say, table
from modelgrid.cli.session import session_of
from modelgrid.domain.units import format_bytes


def register(app: typer.Typer) -> None:
    from modelgrid.cli.gpu_install import install  # noqa: PLC0415

    noun = typer.Typer(help="GPUs and their drivers.", no_args_is_help=True)
    noun.command("list")(list_gpus)
    noun.command("status")(gpu_status)
    noun.command()(drivers)
    noun.command()(install)
    app.add_typer(noun, name="gpu")


def list_gpus(context: typer.Context, as_json: Json = False) -> None:
    """List GPUs with their memory and the deployments on them."""
    with session_of(context).client() as client:
        answer = client.gpus()
    if as_json:
        print_json(answer)
        return
    _say_notes(answer)
    table(
        ("gpu", "node", "name", "free", "total", "used by"),
        (
            [
                item["gpu"]["id"],
                item["node"],
                item["gpu"]["name"],
                format_bytes(item["gpu"]["vram_free_bytes"]),
                format_bytes(item["gpu"]["vram_total_bytes"]),
                ", ".join(item["deployments"]) or (f"kept for {item['assigned_to']}" if item["assigned_to"] else "—"),
            ]
            for item in answer["items"]
        ),
        empty="No GPU was found. `modelgrid gpu drivers` tells why.",
    )


def gpu_status(context: typer.Context, as_json: Json = False) -> None:
    """Show utilisation, temperature, power and health of each GPU."""
    with session_of(context).client() as client:
        answer = client.gpus()
    if as_json:
        print_json(answer)
        return
    _say_notes(answer)
    table(
        ("gpu", "node", "load", "vram", "temp", "power", "clock", "health", "processes"),
        (_status_row(item) for item in answer["items"]),
        empty="No GPU was found. `modelgrid gpu drivers` tells why.",
    )


def _status_row(item: dict[str, object]) -> list[object]:
    gpu = item["gpu"]
    if not isinstance(gpu, dict):
        raise TypeError("the API answered without a GPU")
    trouble = [f"Xid {code}" for code in gpu["xid_errors"]]
    if gpu["ecc_uncorrected_errors"]:
        trouble.append(f"{gpu['ecc_uncorrected_errors']} ECC errors")
    trouble += gpu["throttle_reasons"]
    if gpu["mig_enabled"]:
        trouble.append("MIG")
    if item["stale"]:
        trouble.append("readings are old")
    health = Text("▲ " + clean(", ".join(trouble)), style="yellow") if trouble else Text("● ok", style="green")
    return [
        gpu["id"],
        item["node"],
        _unit(gpu["utilization_percent"], "%"),
        f"{format_bytes(gpu['vram_used_bytes'])} of {format_bytes(gpu['vram_total_bytes'])}",
        _unit(gpu["temperature_celsius"], "°C"),
        f"{_unit(gpu['power_watts'], '')} of {_unit(gpu['power_limit_watts'], 'W')}",
        _unit(gpu["clock_core_mhz"], "MHz"),
        health,
        ", ".join(f"{process['name']}[{process['pid']}]" for process in gpu["processes"]) or "—",
    ]


def _unit(value: float | None, unit: str) -> str:
    return "—" if value is None else f"{value:.0f} {unit}".strip()


def _say_notes(answer: dict[str, object]) -> None:
    if answer["simulated"]:
        say("These GPUs are simulated: no such hardware is in this machine.", "yellow")
    if answer["problem"]:
        say(str(answer["problem"]), "yellow")


def drivers(
    context: typer.Context,
    as_json: Json = False,
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Vendors without hardware here, too.")] = False,
) -> None:
    """Tell what is installed for each vendor, and known faults with what mends them."""
    with session_of(context).client() as client:
        items = client.drivers()
    if as_json:
        print_json({"items": items})
        return
    shown = [item for item in items if show_all or item["hardware_present"] or item["simulated"] or item["issues"]]
    table(
        ("vendor", "hardware", "driver", "toolkit", "containers", "issues"),
        (
            [
                item["vendor"] + (" (simulated)" if item["simulated"] else ""),
                "present" if item["hardware_present"] else "none",
                item["version"] or ("installed" if item["installed"] else "not installed"),
                item["toolkit_version"] or "—",
                {True: "ready", False: "toolkit missing", None: "—"}[item["container_toolkit"]],
                len(item["issues"]) or "none",
            ]
            for item in shown
        ),
        empty="No GPU hardware was found on this machine.",
    )
    for item in shown:
        for issue in item["issues"]:
            console.print(Text(f"\n▲ {clean(issue['message'])}", style="yellow"), soft_wrap=True)
            console.print(Text(f"  {clean(issue['fix'])}"), soft_wrap=True)
