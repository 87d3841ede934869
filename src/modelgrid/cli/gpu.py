"""`modelgrid gpu …`."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from modelgrid.cli.gpu_install import install
from modelgrid.cli.gpu_local import ask_or_read, read_drivers, read_gpus
from modelgrid.cli.options import Json, new_noun, session_of, verbs
from modelgrid.cli.output import SIMULATED, errors, paragraph, print_json, say, short
from modelgrid.cli.tables import NOTHING, Column, table
from modelgrid.client.http import ModelGridClient
from modelgrid.domain.units import format_bytes

if TYPE_CHECKING:
    from modelgrid.client.views import DriverReport, GpuList, GpuView

_NONE_FOUND = "No GPU was found. `modelgrid gpu drivers` tells why."

_LIST = (
    Column("gpu"),
    Column("node", drop=2),
    Column("name", wrap=True),
    Column("free", right=True),
    Column("total", right=True, drop=3),
    Column("used by", drop=1, below=True),
)
_STATUS = (
    Column("gpu"),
    Column("node", drop=4),
    Column("load", right=True),
    Column("vram", right=True),
    Column("temp", right=True),
    Column("power", drop=1, right=True),
    Column("clock", drop=3, right=True),
    Column("health"),
    Column("processes", drop=2, below=True),
)
_DRIVERS = (
    Column("vendor"),
    Column("hardware"),
    Column("driver"),
    Column("toolkit", drop=1),
    Column("containers", drop=2),
    Column("issues"),
)


def register(app: typer.Typer) -> None:
    noun = new_noun("GPUs and their drivers.")
    verbs(noun, list=list_gpus, status=show_gpus, drivers=show_drivers, install=install)
    app.add_typer(noun, name="gpu")


def list_gpus(context: typer.Context, as_json: Json = False) -> None:
    """List GPUs with their memory and the deployments on them."""
    answer = _answer(context, as_json=as_json)
    if as_json:
        print_json(answer)
        return
    _say_notes(answer)
    table(
        _LIST,
        (
            [
                item["gpu"]["id"],
                item["node"],
                item["gpu"]["name"],
                format_bytes(item["gpu"]["vram_free_bytes"]),
                format_bytes(item["gpu"]["vram_total_bytes"]),
                ", ".join(item["deployments"])
                or (f"kept for {item['assigned_to']}" if item["assigned_to"] else NOTHING),
            ]
            for item in answer["items"]
        ),
        empty=_NONE_FOUND,
    )


def show_gpus(context: typer.Context, as_json: Json = False) -> None:
    """Show utilisation, temperature, power and health of each GPU."""
    answer = _answer(context, as_json=as_json)
    if as_json:
        print_json(answer)
        return
    _say_notes(answer)
    table(_STATUS, (_status_row(item) for item in answer["items"]), empty=_NONE_FOUND)


def _answer(context: typer.Context, *, as_json: bool) -> "GpuList":
    answer, note = ask_or_read(session_of(context), ModelGridClient.list_gpus, read_gpus)
    if note and not as_json:
        say(note, "dim")
    return answer


def _status_row(item: "GpuView") -> list[object]:
    gpu = item["gpu"]
    trouble = [f"Xid {code}" for code in gpu["xid_errors"]]
    if gpu["ecc_uncorrected_errors"]:
        trouble.append(f"{gpu['ecc_uncorrected_errors']} ECC errors")
    trouble += gpu["throttle_reasons"]
    if gpu["mig_enabled"]:
        trouble.append("MIG")
    if item["stale"]:
        trouble.append("readings are old")
    health = Text("▲ " + short(", ".join(trouble)), style="yellow") if trouble else Text("● ok", style="green")
    return [
        gpu["id"],
        item["node"],
        _unit(gpu["utilization_percent"], "%"),
        f"{format_bytes(gpu['vram_used_bytes'])} of {format_bytes(gpu['vram_total_bytes'])}",
        _unit(gpu["temperature_celsius"], "°C"),
        _power(gpu["power_watts"], gpu["power_limit_watts"]),
        _unit(gpu["clock_core_mhz"], "MHz"),
        health,
        ", ".join(f"{process['name']}[{process['pid']}]" for process in gpu["processes"]) or NOTHING,
    ]


def _unit(value: float | None, unit: str) -> str:
    return NOTHING if value is None else f"{value:.0f} {unit}"


def _power(used: float | None, limit: float | None) -> str:
    return _unit(used, "W") if used is None or limit is None else f"{used:.0f} of {limit:.0f} W"


def _say_notes(answer: "GpuList") -> None:
    if answer["simulated"]:
        say(SIMULATED, "yellow")
    if answer["problem"]:
        say(answer["problem"], "yellow")


def _drivers(client: ModelGridClient) -> "list[DriverReport]":
    return client.list_drivers()["items"]


def show_drivers(
    context: typer.Context,
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Vendors without hardware here, too.")] = False,
    as_json: Json = False,
) -> None:
    """Show installed drivers and known faults, with what mends them."""
    items, note = ask_or_read(session_of(context), _drivers, read_drivers)
    if as_json:
        print_json({"items": items})
        return
    if note:
        say(note, "dim")
    shown = [item for item in items if show_all or item["hardware_present"] or item["simulated"] or item["issues"]]
    table(
        _DRIVERS,
        (
            [
                item["vendor"] + (" (simulated)" if item["simulated"] else ""),
                "simulated" if item["simulated"] else "present" if item["hardware_present"] else "none",
                item["version"] or ("installed" if item["installed"] else "not installed"),
                item["toolkit_version"] or NOTHING,
                {True: "ready", False: "toolkit missing", None: NOTHING}[item["container_toolkit"]],
                len(item["issues"]) or "none",
            ]
            for item in shown
        ),
        empty="No GPU hardware was found on this machine. `modelgrid gpu drivers --all` shows every vendor.",
    )
    for item in shown:
        for issue in item["issues"]:
            paragraph(f"▲ {short(item['vendor'])}: {issue['message']}", style="yellow")
            paragraph(issue["fix"], indent=2)
    if any(item["issues"] and item["hardware_present"] for item in shown):
        paragraph("`modelgrid gpu install` walks through what is missing, and asks before each step.", to=errors)
