"""The form of a known failure of engines. The table is `decide.failure_rules`."""

import re
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
    pattern: re.Pattern[str] | None = None
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


def words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)
