import io
import logging
import sys

import pytest

from modelgrid.gateway.log_format import LineFormatter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(text: str, level: int = logging.WARNING) -> logging.LogRecord:
    made = logging.LogRecord("gateway", level, __file__, 1, text, (), None)
    made.created, made.msecs = 1_700_000_000.25, 250.0
    return made


def test_a_file_gets_logfmt_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    line = LineFormatter(0).format(record('he said "no"\nand left'))
    assert line == ('timestamp=2023-11-14T22:13:20.250000Z level=warning event="he said \\"no\\"\\nand left" gateway=0')


def test_the_journal_gets_a_priority_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    assert LineFormatter(2).format(record("gone")) == '<4>level=warning event="gone" gateway=2'


def test_a_terminal_gets_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    line = LineFormatter(1).format(record("listens", logging.INFO))
    assert "\x1b[32minfo" in line
    assert line.endswith("gateway 1: listens")
