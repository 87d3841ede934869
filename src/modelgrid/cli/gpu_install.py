"""`modelgrid gpu install`: walks through the driver installation; shows each command and asks before each."""

import asyncio
import shlex
import subprocess
import sys
from typing import Annotated

import typer

from modelgrid.cli.output import Json, console, print_json, say
from modelgrid.decide.driver_steps import InstallStep, install_steps
from modelgrid.domain.errors import InvalidInput, NotFound
from modelgrid.domain.gpu import DriverReport, GpuVendor


def install(
    vendor: Annotated[GpuVendor | None, typer.Option(help="Vendor; default: the one whose hardware is here.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Only show the steps.")] = False,
    as_json: Json = False,
) -> None:
    """Walk through installing a GPU driver. Each command is shown, and runs only after you said yes to it."""
    # Adapters are imported here only: reading this machine is all that is local about this verb.
    from modelgrid.adapters.gpu_reader import gather_install_facts  # noqa: PLC0415

    report = asyncio.run(_report(vendor))
    steps = install_steps(report.vendor, gather_install_facts(report))
    if as_json:
        print_json({"vendor": report.vendor.value, "items": [_as_json(step) for step in steps]})
        return
    if not steps:
        say(f"Nothing is missing for {report.vendor.value}.", "green")
        return
    if not show and not sys.stdin.isatty():
        raise InvalidInput("This asks before each step and needs a terminal.", fix="Use --show to only see the steps.")
    for number, step in enumerate(steps, start=1):
        _explain(step, f"{number} of {len(steps)}")
        if show or not step.argv:
            continue
        answer = typer.prompt("Run it? [y]es, [s]kip, [q]uit", default="q").strip().lower()
        if answer.startswith("y"):
            _run(step)
            if step.reboot_after:
                say("Reboot now, then run `modelgrid gpu install` again: it goes on where this ended.", "yellow")
                return
        elif not answer.startswith("s"):
            say("Nothing further was run.")
            return


async def _report(vendor: GpuVendor | None) -> DriverReport:
    from modelgrid.adapters.gpu_reader import host_readers  # noqa: PLC0415

    readers = host_readers()
    try:
        chosen = [
            reader for reader in readers if (reader.hardware_present() if vendor is None else reader.vendor is vendor)
        ]
        if not chosen:
            raise NotFound(
                "No GPU of NVIDIA, AMD or Intel is in this machine.", fix="Name one with --vendor to see its steps."
            )
        return await chosen[0].drivers()
    finally:
        for reader in readers:
            await reader.close()


def _explain(step: InstallStep, position: str) -> None:
    console.print(f"\n[{position}] {step.title}", style="bold")
    console.print(f"  {step.why}", soft_wrap=True)
    if step.argv:
        console.print(f"  {'# ' if step.needs_root else '$ '}{_shown(step.argv)}", style="cyan", soft_wrap=True)
    if step.guide:
        console.print(f"  {step.guide}", style="dim", soft_wrap=True)
    if step.reboot_after:
        console.print("  A reboot is needed after this step.", style="yellow")


def _shown(argv: tuple[str, ...]) -> str:
    return shlex.join(argv)


def _run(step: InstallStep) -> None:
    done = subprocess.run(step.argv, check=False)
    if done.returncode != 0:
        say(f"It failed with status {done.returncode}. Mend that, then run this again.", "red")
        raise typer.Exit(1)
    if step.check and subprocess.run(step.check, check=False, capture_output=True).returncode != 0:
        say("It ran, but its check does not succeed yet.", "yellow")


def _as_json(step: InstallStep) -> dict[str, object]:
    return {
        "title": step.title,
        "why": step.why,
        "argv": list(step.argv),
        "needs_root": step.needs_root,
        "reboot_after": step.reboot_after,
        "guide": step.guide,
    }
