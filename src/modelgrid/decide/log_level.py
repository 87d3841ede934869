"""How severe a line of an engine's output is.

vLLM writes `INFO 11-23 16:50:07 [launcher.py:195] …`, its processes put `(EngineCore_0 pid=7) ` before that, uvicorn
writes `INFO:     …`, Python and PyTorch write warnings and tracebacks in forms of their own. A line that has no level
of its own belongs to the one before it when it continues it: the frames of a traceback are part of its error.
"""

import re
from typing import Final

from modelgrid.domain.event import Level

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_SPEAKER: Final = re.compile(r"\((?:APIServer|Engine|Worker|Scheduler|[A-Za-z]\w*)[^()]{0,60}\) ")
"""`(EngineCore_DP0 pid=123) `, `(APIServer pid=7) `, `(Worker_TP1 pid=9) `."""
_WORD: Final = re.compile(r"\[?(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)\b")
_GLOG: Final = re.compile(r"(?:\[rank\d+\]:)?\[?([IWEF])\d{4} ?\d\d:\d\d|\[rank\d+\]:\[([IWEF])\d{3,4} ")
"""PyTorch's own log: `[rank0]:[W1123 16:50:07 …]`, `[W1123 16:50:07.123 file.cpp:1]`."""
_EXCEPTION: Final = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt)(?::|$)")
_WARNING: Final = re.compile(r":\d+: (?:[A-Za-z_]\w*\.)*[A-Z]\w*Warning: |\bNCCL WARN\b")
_TRACEBACK: Final = "Traceback (most recent call last):"
_CHAINED: Final = (
    "During handling of the above exception",
    "The above exception was the direct cause",
)

_LEVELS: Final = {
    "DEBUG": Level.DEBUG, "INFO": Level.INFO, "WARNING": Level.WARNING, "WARN": Level.WARNING, "ERROR": Level.ERROR,
    "CRITICAL": Level.ERROR, "FATAL": Level.ERROR,
    "I": Level.INFO, "W": Level.WARNING, "E": Level.ERROR, "F": Level.ERROR,
}  # fmt: skip


def level_of(text: str, before: Level) -> Level:
    """Return the level of one line; `before` is that of the line before it on the same stream."""
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    if text.startswith("("):
        speaker = _SPEAKER.match(text)
        if speaker is not None:
            text = text[speaker.end() :]
    word = _WORD.match(text)
    if word is not None:
        return _LEVELS[word[1]]
    if not text or text[0] in " \t":
        return before
    if text.startswith(_TRACEBACK) or _EXCEPTION.match(text):
        return Level.ERROR
    if text.startswith(_CHAINED):
        return before
    glog = _GLOG.match(text)
    if glog is not None:
        return _LEVELS[glog[1] or glog[2]]
    return Level.WARNING if _WARNING.search(text) else Level.INFO
