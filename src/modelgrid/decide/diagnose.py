"""Known failures of engines: from an exit, the last log lines and the runtime's words to a cause and a remedy.

The table is `decide.failure_rules`; its first rule that matches wins. Within a rule the first text that matches is the
evidence: the runtime's error, then the log from its oldest line. Notes, warnings and source lines of tracebacks tell
no cause and are not read.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Final

from modelgrid.decide.failure_rule import LOG, RUNTIME, Rule, exit_signal
from modelgrid.decide.failure_rules import RULES
from modelgrid.domain.deployment import Diagnosis
from modelgrid.domain.engine import EngineExit

MAX_EVIDENCE: Final = 500
_MAX_LINE: Final = 1000
"""Characters of a line that are read: every known message says what it has to say within 600."""
_MAX_ERROR: Final = 4000
"""Container engines wrap their errors many times over, the cause last."""
_NOT_AN_ERROR = re.compile(r"^(?:\(\S+(?: [^)]*)?\) ?)*(?:INFO|WARNING|DEBUG)[ :]")
_PREFIX = re.compile(
    r"^(?:\(\S+(?: [^)]*)?\) ?)*(?:(?:ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\] ?)?(?:\[rank\d+\]: ?)?"
)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

_SIGNALS: Final[Mapping[int, str]] = {
    4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM",
}  # fmt: skip


def diagnose(exit_: EngineExit | None, lines: Sequence[str], error: str = "") -> Diagnosis | None:
    """Return why an engine failed, or `None` when the failure is not a known one.

    `exit_` is how it ended (`None`: it never ran, or its end was not seen), `lines` are the last lines of its log,
    oldest first, and `error` is what the runtime said when it would not pull or start it."""
    words = [text[-_MAX_ERROR:] for text in (error, exit_.error if exit_ else "") if text]
    log = [clean for line in lines if (clean := _clean(line)) and not _tells_no_cause(clean)]
    for rule in RULES:
        if rule.exits is not None and exit_ is not None and rule.exits(exit_):
            return _diagnosis(rule, {"signal": _signal_name(exit_)}, _exit_text(exit_))
        if not rule.pattern:
            continue
        for text in _texts(rule, words, log):
            if match := _compiled(rule.pattern).search(text):
                return _diagnosis(rule, match.groupdict(), text)
    return None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _texts(rule: Rule, words: Sequence[str], log: Sequence[str]) -> Iterator[str]:
    if rule.where != LOG:
        yield from words
    if rule.where != RUNTIME:
        yield from log


def _clean(line: str) -> str:
    return _ESCAPES.sub("", line[:_MAX_LINE]).rstrip()


def _tells_no_cause(line: str) -> bool:
    """Notes, warnings, and the source lines of a traceback, which may name an error without being it."""
    return bool(_NOT_AN_ERROR.match(line)) or _PREFIX.sub("", line, count=1).startswith(("    ", '  File "'))


def _diagnosis(rule: Rule, groups: Mapping[str, str | None], text: str) -> Diagnosis:
    known = {name: value.strip() for name, value in groups.items() if value}
    missing = any(f"{{{name}}}" in rule.remedy for name in groups if name not in known)
    remedy = rule.remedy_else if missing else rule.remedy
    cause = rule.cause.format_map(_Known(known))
    evidence = _PREFIX.sub("", text, count=1).strip()[:MAX_EVIDENCE]
    return Diagnosis(
        code=rule.code, cause=cause, remedy=remedy.format_map(_Known(known)), evidence=evidence, retry=rule.retry
    )


class _Known(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "an unknown value"


def _signal_name(exit_: EngineExit) -> str:
    number = exit_signal(exit_)
    return _SIGNALS.get(number, f"signal {number}") if number is not None else ""


def _exit_text(exit_: EngineExit) -> str:
    if exit_.out_of_memory:
        return "killed for exceeding the memory of the host or of its limit"
    return f"ended by {_signal_name(exit_)}"
