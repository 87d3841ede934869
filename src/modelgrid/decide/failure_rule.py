"""The form of a known failure of engines. The table is `decide.failure_rules`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from modelgrid.domain.engine import EngineExit

RUNTIME: Final = "runtime"
"""Texts of the container engine or of the process runtime."""
LOG: Final = "log"
"""Lines of the engine's own output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One known failure. `cause` and `remedy` may name groups of `pattern`; a remedy with a group that did not
    match falls back on `remedy_else`. `where` limits it to one kind of text; `exits` looks at the exit alone."""

    code: str
    cause: str
    remedy: str
    remedy_else: str = ""
    pattern: str = ""
    """Regular expression, in which capitals do not matter. Compiled when the first failure is looked at: compiling all
    of them is 30 ms of each start."""
    where: str = ""
    retry: bool = False
    exits: Callable[[EngineExit], bool] | None = None


def exit_signal(exit_: EngineExit) -> int | None:
    """Shells and container engines report a signal as 128 + its number."""
    if exit_.signal is not None:
        return exit_.signal
    return exit_.code - 128 if exit_.code is not None and 128 < exit_.code < 128 + 65 else None


def died_of(*signals: int) -> Callable[[EngineExit], bool]:
    return lambda exit_: exit_signal(exit_) in signals
