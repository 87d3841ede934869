"""`modelgrid gpu install`: walks through the driver installation; shows each command and asks before each."""

import os
import shlex
import subprocess
import sys
from typing import Annotated

import typer
from rich.text import Text

from modelgrid.cli.gpu_local import driver_report
from modelgrid.cli.options import Json
from modelgrid.cli.output import clean, paragraph, print_json, say, short, show
from modelgrid.decide.driver_steps import InstallStep, install_steps
from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.gpu import GpuVendor


def install(
    vendor: Annotated[GpuVendor | None, typer.Option(help="Vendor; default: the one whose hardware is here.")] = None,
    only_show: Annotated[bool, typer.Option("--show", help="Only show the steps.")] = False,
    as_json: Json = False,
) -> None:
    """Walk through installing a GPU driver. Each command is shown, and runs only after you said yes to it.

    --json prints the steps, and runs none."""
    # Adapters are loaded here only: reading this machine is all that is local about this verb.
    from modelgrid.adapters.gpu_reader import gather_install_facts  # noqa: PLC0415

    report = driver_report(vendor)
    steps = install_steps(report.vendor, gather_install_facts(report))
    if as_json:
        print_json({"vendor": report.vendor.value, "items": [_as_json(step) for step in steps]})
        return
    walk(report.vendor, steps, only_show=only_show)


def walk(vendor: GpuVendor, steps: tuple[InstallStep, ...], *, only_show: bool) -> None:
    """Show each step; run it when the answer is yes. Raises `InvalidInput` where nobody can answer."""
    if not steps:
        say(f"Nothing is missing for {vendor.value}.", "green")
        return
    if not only_show and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInput("This asks before each step and needs a terminal.", fix="Use --show to only see the steps.")
    for number, step in enumerate(steps, start=1):
        _explain(step, f"{number} of {len(steps)}")
        if only_show or not step.argv:
            continue
        answer = _ask()
        if answer in {"y", "yes"}:
            _run(step)
            if step.reboot_after:
                say("Reboot now, then run `modelgrid gpu install` again: it goes on where this ended.", "yellow")
                return
        elif answer not in {"s", "skip"}:
            say("Nothing further was run.")
            return
    say("These are all steps." if only_show else "That was the last step. `modelgrid gpu drivers` checks the result.")


def _ask() -> str:
    """Return the answer in lower case; empty at the end of input, on Ctrl-C, and when nothing was typed."""
    try:
        return str(typer.prompt("Run it? [y]es, [s]kip, [q]uit", default="q", err=True)).strip().lower()
    except typer.Abort:
        say("")
        return ""


def _explain(step: InstallStep, position: str) -> None:
    show("")
    show(Text(f"[{position}] {short(step.title)}", style="bold"))
    paragraph(step.why, indent=2)
    if step.argv:
        # Not wrapped: what is shown is what runs, and what can be copied.
        show(Text(f"  {'#' if os.geteuid() == 0 else '$'} {clean(shlex.join(_argv(step)))}", style="cyan"))
    if step.guide:
        paragraph(step.guide, indent=2, style="dim")
    if step.reboot_after:
        paragraph("A reboot is needed after this step.", indent=2, style="yellow")


def _argv(step: InstallStep) -> tuple[str, ...]:
    return ("sudo", *step.argv) if step.needs_root and os.geteuid() != 0 else step.argv


def _run(step: InstallStep) -> None:
    try:
        code = subprocess.run(_argv(step), check=False).returncode
    except OSError as error:
        say(f"It could not be started: {error.strerror}. Mend that, then run this again.", "red")
        raise typer.Exit(1) from error
    if code != 0:
        how = f"was killed by signal {-code}" if code < 0 else f"failed with status {code}"
        say(f"It {how}. Mend that, then run this again.", "red")
        raise typer.Exit(1)
    if step.check and not _holds(step.check):
        say("It ran, but its check does not succeed yet.", "yellow")


def _holds(check: tuple[str, ...]) -> bool:
    try:
        return subprocess.run(check, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _as_json(step: InstallStep) -> dict[str, object]:
    return {
        "title": step.title,
        "why": step.why,
        "argv": list(step.argv),
        "needs_root": step.needs_root,
        "reboot_after": step.reboot_after,
        "guide": step.guide,
    }
