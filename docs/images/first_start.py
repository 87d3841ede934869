"""Takes the picture of the README: a real first start and two commands, as a terminal shows them.

    sudo .venv/bin/python docs/images/first_start.py

Runs `make up` on a pseudo-terminal, waits for the deployment of the first start, runs the commands, ends the daemon
and writes `first-start.svg` beside this file. Root, because it takes namespaces of its own for network, files and
host name: the default ports and the state directory are free there. It leaves two empty folders at most.
"""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
PICTURE = Path(__file__).with_name("first-start.svg")
PROGRAM = Path(sys.executable).with_name("modelgrid")
COLUMNS = 128
HOST = "gpu-1"
INSIDE = "MODELGRID_PICTURE_INSIDE"
WAIT_SECONDS = 60.0
COLUMN_WIDTH = 20 * 0.61
"""Of rich's SVG: letters of 20 units, 0.61 of that wide."""
INDENTED = re.compile(
    r'x="(?P<x>[\d.]+)" y="(?P<y>[\d.]+)" textLength="(?P<length>[\d.]+)" (?P<rest>[^>]+)>'
    r"(?P<spaces>(?:&#160;)+)(?=[^<])"
)

THEME = TerminalTheme(
    (13, 17, 23),
    (201, 209, 217),
    [(72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34), (88, 166, 255), (188, 140, 255), (57, 197, 207),
     (177, 186, 196)],
    [(110, 118, 129), (255, 161, 152), (86, 211, 100), (227, 179, 65), (121, 192, 255), (210, 168, 255),
     (86, 212, 221), (240, 246, 252)],
)  # fmt: skip

SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; white-space: pre;
}}
.{unique_id}-title {{ font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""Rich's own format without the fonts it fetches from elsewhere: a picture in a page must not ask the network."""


def run(argv: list[str], *, until: str | None = None) -> tuple[str, subprocess.Popen[bytes]]:
    """Return what a program writes to its terminal, up to its end or until `until` was seen, and the program."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    program = subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=ROOT, start_new_session=True
    )
    os.close(theirs)
    said, deadline = b"", time.monotonic() + WAIT_SECONDS
    while until is None or until not in said.decode(errors="replace"):
        ready, _, _ = select.select([ours], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            end(program)
            raise TimeoutError(f"{argv} said only: {said.decode(errors='replace')}")
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the terminal of a program that has ended
            break
        if not piece:
            break
        said += piece
    return said.decode().replace("\r\n", "\n"), program


def take() -> None:
    """Run the commands and write the picture."""
    banner, daemon = run(["make", "--no-print-directory", "up"], until="Hello")
    shown = [("make up", banner)]
    try:
        wait_for_the_first_deployment()
        for command in ("modelgrid ps", "modelgrid gpu list"):
            said, program = run([str(PROGRAM), *command.split()[1:]])
            program.wait()
            shown.append((command, said))
        for item in deployments():
            subprocess.run([PROGRAM, "container", "remove", item["id"], "--wait"], check=True, capture_output=True)
    finally:
        end(daemon)
    write(shown)


def outdented(text: re.Match[str]) -> str:
    """Move a text to where its first letter is: some programs drop the spaces it begins with."""
    columns = text["spaces"].count("&#160;")
    x = float(text["x"]) + columns * COLUMN_WIDTH
    length = float(text["length"]) - columns * COLUMN_WIDTH
    return f'x="{x:.1f}" y="{text["y"]}" textLength="{length:.1f}" {text["rest"]}>'


def end(program: subprocess.Popen[bytes]) -> None:
    """Do what Ctrl-C does: interrupt the program and what it started. A daemon then ends by itself."""
    os.killpg(program.pid, signal.SIGINT)
    program.wait(WAIT_SECONDS)


def deployments() -> list[dict[str, Any]]:
    done = subprocess.run([PROGRAM, "ps", "--json"], check=True, capture_output=True, text=True)
    items: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return items


def wait_for_the_first_deployment() -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if any(item["state"] == "running" for item in deployments()):
            return
        time.sleep(0.5)
    raise TimeoutError("the deployment of the first start does not run")


def write(shown: list[tuple[str, str]]) -> None:
    """Write the terminal with the commands and what they said."""
    console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"), force_terminal=True)  # noqa: SIM115
    for number, (command, said) in enumerate(shown):
        console.print(Text(("\n" if number else "") + "$ ", style="bold green").append(command, style="bold default"))
        console.print(Text.from_ansi(said.rstrip("\n")))
    console.print()
    picture = console.export_svg(title="ModelGrid", theme=THEME, code_format=SVG, unique_id="first-start")
    PICTURE.write_text(INDENTED.sub(outdented, picture), encoding="utf-8")
    sys.stdout.write(f"{PICTURE} written\n")


def enter() -> None:
    """Run this again in namespaces of its own, with empty folders for state and configuration."""
    with tempfile.TemporaryDirectory() as empty:
        for name in ("lib", "etc"):
            Path(empty, name).mkdir()
        steps = (
            f"hostname {HOST} && ip link set lo up && mkdir -p /var/lib/modelgrid /etc/modelgrid"
            f" && mount --bind {empty}/lib /var/lib/modelgrid && mount --bind {empty}/etc /etc/modelgrid"
            f' && exec "$0" "$@"'
        )
        inside = {**os.environ, INSIDE: "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        argv = ["unshare", "--net", "--mount", "--uts", "sh", "-c", steps, sys.executable, __file__]
        subprocess.run(argv, check=True, env=inside)


if __name__ == "__main__":
    if shutil.which("unshare") is None or os.geteuid() != 0:
        sys.exit("This needs root and the program unshare (Debian: util-linux).")
    take() if os.environ.get(INSIDE) else enter()
