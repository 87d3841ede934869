"""What the daemons of a test session wrote to the logs that it leaves: exceptions and warnings of Python that nobody
expected."""

import re
from pathlib import Path

EXPECTED = ".expected"
_EXCEPTION = re.compile(
    r"Traceback \(most recent call last\)|exception was never retrieved|was never awaited|Exception ignored in|"
    r"unhandled error|^\S+\.py:\d+: \w*Warning: "
)
_NOT_OURS = frozenset({"engines", "logs", "fixtures"})
"""Folders of engines' output, which may well be a traceback, and of what the daemon keeps of it."""
_NAMES = re.compile(r"(.*\.log|log|stderr.*)$")


def expect_exception(log: Path, text: str) -> None:
    """Say that a test makes the daemon behind `log` write exceptions that contain `text`."""
    with log.with_name(log.name + EXPECTED).open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")


def unexpected_exceptions(folder: Path) -> list[str]:
    """Return the lines below `folder` with which a supervisor, a control process or a gateway told of an exception.

    Control and gateways write one as one line; the supervisor, and an interpreter that ends, as several, of which the
    first and the last are returned."""
    found = []
    for path in sorted(folder.rglob("*")):
        if not _NAMES.match(path.name) or _NOT_OURS & set(path.relative_to(folder).parts[:-1]):
            continue
        if path.is_file() and not path.is_symlink():
            expected = _expected(path)
            lines = _whole(path.read_text(encoding="utf-8", errors="replace"))
            found += [
                f"{path}: {line}"
                for line in lines
                if _EXCEPTION.search(line) and not any(text in line for text in expected)
            ]
    return found


def _expected(log: Path) -> list[str]:
    said = log.with_name(log.name + EXPECTED)
    return said.read_text(encoding="utf-8").splitlines() if said.exists() else []


def _whole(text: str) -> list[str]:
    """Return lines, and each traceback of several lines as one."""
    lines: list[str] = []
    within = False
    for line in text.splitlines():
        if within:
            lines[-1] += f"\n{line}"
            within = line.startswith(" ") or not line
        else:
            lines.append(line)
            within = line.startswith("Traceback (most recent call last)")
    return lines
