"""What others choose (a model's name, an error's text) goes into the daemon's log and stays one line of text."""

import json
import subprocess
import sys

import pytest

EVIL = 'x\nlevel=error event="all is lost"\r\x1b]0;owned\x07\x1b[2J\u202e</script>'
SPEAK = """
import json, sys
from modelgrid.daemon_log import configure_logging
tap = configure_logging()
import logging, structlog
evil = sys.argv[1]
structlog.get_logger().warning(f"model {evil} refused", model=evil)
logging.getLogger("library").error("said %s", evil)
try:
    raise ValueError(evil)
except ValueError:
    structlog.get_logger(source="scheduler").exception("failed")
tap.connect(lambda *record: print(json.dumps(record)))
"""


@pytest.mark.parametrize("environment", [{}, {"JOURNAL_STREAM": "8:1"}])
def test_one_line_each_and_nothing_for_a_terminal_to_obey(environment: dict[str, str]) -> None:
    said = subprocess.run(
        [sys.executable, "-c", SPEAK, EVIL], capture_output=True, check=True, env=environment, timeout=60
    )
    lines = said.stderr.decode().splitlines()
    assert len(lines) == 3, said.stderr
    assert all("level=" in line for line in lines)
    assert not any(control in said.stderr for control in (b"\x1b", b"\x07", b"\r", "\u202e".encode()))
    first, second, third = [json.loads(line) for line in said.stdout.splitlines()]
    assert first == ["daemon", "warning", f"model {EVIL} refused", {"model": EVIL}], "the store has it as it was"
    assert second == ["daemon", "error", f"said {EVIL}", {"logger": "library"}]
    assert third[:3] == ["scheduler", "error", "failed"]
    assert "ValueError" in third[3]["exception"]


def test_half_a_character_is_kept_as_its_escape() -> None:
    """A file's name may have one. No file of the log could hold it, and nothing after it either."""
    said = subprocess.run([sys.executable, "-c", SPEAK, "x\udcffy"], capture_output=True, check=True, timeout=60)
    first, second, third = [json.loads(line) for line in said.stdout.splitlines()]
    assert first == ["daemon", "warning", "model x\\udcffy refused", {"model": "x\\udcffy"}]
    assert second[2] == "said x\\udcffy"
    assert "x\\udcffy" in third[3]["exception"]
    assert b"model=x\\udcffy" in said.stderr
