"""`modelgrid demo`: a fleet to look around in, on this machine, with nothing real but the daemons."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from modelgrid.cli.demo_fleet import OTHERS, RUNNING, DemoFleet, Opened
from modelgrid.cli.demo_traffic import Traffic
from modelgrid.cli.options import Json, session_of, verbs
from modelgrid.cli.output import print_json_line, say, show
from modelgrid.cli.tables import facts, heading
from modelgrid.domain.errors import InvalidInput, ModelGridError
from modelgrid.domain.units import format_duration


def register(app: typer.Typer) -> None:
    verbs(app, demo=demo)


def demo(
    context: typer.Context,
    flap: Annotated[
        bool, typer.Option("--flap", help="Let one worker fall silent and come back, all the time.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a three-node fleet with simulated GPUs, engines and traffic, for a look around.

    Real daemons on free ports of the loopback, in a folder for temporary files: a control plane and two workers, and
    models in every state. Nothing else on this machine is touched. Ctrl-C ends and removes all of it."""
    if session_of(context).url is not None:
        raise InvalidInput("`demo` runs on this machine; --url names a daemon elsewhere.", fix="Leave --url out.")
    began = time.monotonic()
    fleet = DemoFleet()
    try:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(_live(fleet, began, flap=flap, as_json=as_json))
    finally:
        # From here on nothing interrupts: what was started is ended.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if not as_json:
            say("Ending the demonstration …")
        fleet.close()
        if not as_json:
            say("All of it is gone.")


async def _live(fleet: DemoFleet, began: float, *, flap: bool, as_json: bool) -> None:
    """Run the fleet until a signal ends it, by cancelling this."""
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    if me is None:
        raise AssertionError("runs as a task")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, me.cancel)

    def progress(text: str) -> None:
        if not as_json:
            say(f"{time.monotonic() - began:5.1f} s  {text}", "dim")

    opened = await fleet.open(progress)
    if as_json:
        print_json_line(_as_json(fleet, opened))
    else:
        _show(fleet, opened, time.monotonic() - began, flap=flap)
    traffic = Traffic(bases=[node.api_url for node in fleet.nodes], key=opened.key, models=list(RUNNING))
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(traffic.run())
            tasks.create_task(fleet.watch())
            if flap:
                tasks.create_task(fleet.flap(progress))
    except* ModelGridError as group:
        raise group.exceptions[0] from None


def _as_json(fleet: DemoFleet, opened: Opened) -> dict[str, object]:
    return {
        "simulated": True,
        "console": fleet.control.console_url,
        "user": "admin",
        "password": opened.password,
        "api": fleet.control.api_url,
        "key": opened.key,
        "models": list(RUNNING),
        "nodes": list(fleet.described()),
        "folder": str(fleet.folder),
        "pid": os.getpid(),
    }


def _show(fleet: DemoFleet, opened: Opened, seconds: float, *, flap: bool) -> None:
    control = fleet.control
    show(Text(f"\nA fleet of {len(fleet.nodes)} nodes is up after {format_duration(seconds)}.", style="bold green"))
    show("GPUs, engines and their answers are SIMULATED. Daemons, gateways and the traffic are real.", "yellow")
    heading("Console")
    facts([("URL", control.console_url), ("User", "admin"), ("Password", opened.password)])
    heading("API, OpenAI-compatible, the same on every node")
    facts([("Base URL", control.api_url), ("Key", opened.key)])
    heading("Nodes")
    facts([(node.plan.name, f"{node.console_url}  {node.plan.role}, {_gpus(node.plan.gpus)}") for node in fleet.nodes])
    heading("Models")
    starting, failing, pending = OTHERS
    facts(
        [
            *(("running" if n == 0 else "", model) for n, model in enumerate(RUNNING)),
            ("starting", starting),
            ("failing", failing),
            ("pending", f"{pending}, larger than the fleet"),
        ]
    )
    heading("Try it")
    show(f"  export MODELGRID_STATE_DIR={control.state_dir}")
    show("  modelgrid status; modelgrid ps")
    body = f'{{"model": "{next(iter(RUNNING))}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    show(f"  curl {control.api_url}/chat/completions -H 'Authorization: Bearer {opened.key}' \\")
    show(f"    -H 'Content-Type: application/json' -d '{body}'")
    show("")
    if flap:
        say("One worker falls silent from time to time.")
    say("Ctrl-C ends and removes all of it.")


def _gpus(names: Sequence[str]) -> str:
    return ", ".join(f"{names.count(kind)} × {kind}" for kind in dict.fromkeys(names))
