"""Measures how the console feels: `make bench-console`, or

    .venv/bin/python -m benchmarks.bench_console [part …] [--soak SECONDS]

* `loads`: cold loads of the landing page after the login, by a slow machine over a slow line (the processor at a
  quarter, 10 Mbit/s, 40 ms): the largest paint, the time the page could not react, the layout's shift, the time to the
  verdict, the answer to a click; then, on a list of 50 deployments, the answers to sorting, typing a filter and
  opening one.
* `log`: the log view with 200,000 lines: frames while it is scrolled, and what 200 new lines cost.
* `fleet`: every view and a drawer's tabs on 20 nodes with 8 GPUs each and 50 deployments, then a page left open there:
  the longest task, the nodes of the DOM, and how fast its heap grows.

Daemons are real; GPUs and engines are simulated. Each figure stands beside its bound; the exit status says whether all
are kept.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "browser"), str(ROOT / "tests" / "integration")]

from browser_kit import missing  # noqa: E402

from benchmarks import console_fleet, console_loads, console_log  # noqa: E402
from benchmarks.machine import facts  # noqa: E402

SOAK_SECONDS = 600.0


def parts(soak: float) -> Mapping[str, tuple[Callable[[], Mapping[str, float]], Mapping[str, float]]]:
    """Return what can be measured, and the bounds of what each finds."""
    return {
        "loads": (console_loads.measure, console_loads.BOUNDS),
        "log": (console_log.measure, console_log.BOUNDS),
        "fleet": (lambda: console_fleet.measure(soak), console_fleet.BOUNDS),
    }


def main() -> int:
    if reason := missing():
        print(reason, file=sys.stderr)
        return 1
    known = parts(SOAK_SECONDS)
    parser = argparse.ArgumentParser(prog="bench_console")
    parser.add_argument("part", nargs="*", choices=[*known, []], help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--soak", type=float, default=SOAK_SECONDS, help="seconds that the fleet is watched")
    asked = parser.parse_args()
    print(f"{facts()}", flush=True)
    kept = True
    for name, (measure, bounds) in parts(asked.soak).items():
        if asked.part and name not in asked.part:
            continue
        print(f"{name}:", flush=True)
        for figure, value in measure().items():
            bound = bounds.get(figure)
            verdict = "" if bound is None else f"(bound {bound:g}){'' if value <= bound else '  ABOVE IT'}"
            kept = kept and (bound is None or value <= bound)
            print(f"  {figure:<26} {value:>9.4g}   {verdict}", flush=True)
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
