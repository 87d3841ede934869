"""`gpu install` shows every command, asks before each, and runs none unasked."""

import subprocess
import sys
import time

import pytest
from cli_kit import Place, Terminal

from modelgrid.cli.main import run

DRIVER = """
import os, sys
from modelgrid.cli import gpu_install
from modelgrid.cli.main import main
from modelgrid.decide.driver_steps import InstallStep
from modelgrid.domain.gpu import DriverReport, GpuVendor

made = os.environ["MADE"]
steps = (
    InstallStep(title="First", why="It comes first.", argv=("touch", made + "/first one"), needs_root=False),
    InstallStep(title="Read", why="Nothing to run.", guide="https://example.org/guide"),
    InstallStep(title="Second", why="Then this.", argv=("touch", made + "/second"), needs_root=False, check=("false",)),
    InstallStep(title="Third", why="A reboot.", argv=(sys.executable, "-c", os.environ.get("THIRD", "")),
                needs_root=False, reboot_after=True),
    InstallStep(title="Fourth", why="After the reboot.", argv=("touch", made + "/fourth"), needs_root=False),
)
report = DriverReport(vendor=GpuVendor.NVIDIA, hardware_present=True, installed=False)
gpu_install.driver_report = lambda vendor: report
gpu_install.install_steps = lambda vendor, facts: steps
main()
"""
QUESTION = "Run it? [y]es, [s]kip, [q]uit"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "made").mkdir()
    return Place(tmp_path / "none.json", tmp_path / "state")


def made(place: Place) -> list[str]:
    return sorted(path.name for path in (place.config.parent / "made").iterdir())


def install(place: Place, *arguments: str, **environment: str) -> Terminal:
    argv = [sys.executable, "-c", DRIVER, "gpu", "install", *arguments]
    return Terminal(argv, place.environment(MADE=str(place.config.parent / "made"), **environment), columns=200)


@pytest.mark.parametrize("answer", ["n\n", "no\n", "q\n", "\n", "\x04", "maybe\n", "Y E S\n"])
def test_anything_but_yes_runs_nothing(place, answer):
    session = install(place)
    session.expect(QUESTION)
    session.send(answer)
    assert session.end() == 0
    assert made(place) == []
    assert "Nothing further was run" in session.text


def test_ctrl_c_runs_nothing(place):
    session = install(place)
    session.expect(QUESTION)
    for _ in range(10):  # an interpreter that is just about to read hears the next one only
        session.send("\x03")
        pause = time.monotonic() + 2
        while "Nothing further was run" not in session.text and time.monotonic() < pause:
            session.read(0.1)
        if "Nothing further was run" in session.text:
            break
    assert session.end() == 0
    assert made(place) == []
    assert "Traceback" not in session.text


def test_each_command_is_shown_before_it_is_asked_for_and_runs_after_yes_only(place):
    session = install(place)
    folder = place.config.parent / "made"
    session.expect(QUESTION)
    assert f"touch '{folder}/first one'" in session.text, "as it can be pasted into a shell"
    assert made(place) == []
    session.send("y\n")
    session.expect("[3 of 5] Second")
    assert "https://example.org/guide" in session.text
    assert made(place) == ["first one"]
    session.send("s\n")
    session.expect("[4 of 5] Third")
    session.expect("A reboot is needed")
    session.send("yes\n")
    assert session.end() == 0
    assert "Reboot now" in session.text
    assert "Fourth" not in session.text, "what comes after a reboot is not offered before it"
    assert made(place) == ["first one"]


def test_a_step_that_fails_ends_it(place):
    session = install(place, THIRD="raise SystemExit(3)")
    for answer in ("s\n", "y\n", "y\n"):
        session.expect(QUESTION)
        session.text = ""
        session.send(answer)
    assert session.end() == 1
    assert "failed with status 3" in session.text
    assert made(place) == ["second"]


def test_a_check_that_does_not_hold_is_told(place):
    session = install(place)
    for answer in ("s\n", "y\n"):
        session.expect(QUESTION)
        session.text = ""
        session.send(answer)
    session.expect("its check does not succeed yet")
    session.send("q\n")
    session.end()


def test_without_a_terminal_it_only_shows(place):
    environment = place.environment(MADE=str(place.config.parent / "made"))

    def piped(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", DRIVER, "gpu", "install", *arguments]
        return subprocess.run(argv, env=environment, input="y\ny\ny\n", capture_output=True, text=True, check=False)

    refused = piped()
    assert refused.returncode == 2
    assert "--show" in refused.stderr
    shown = piped("--show")
    assert shown.returncode == 0
    assert "[5 of 5] Fourth" in shown.stdout
    assert QUESTION not in shown.stdout + shown.stderr
    listed = piped("--json")
    assert '"title": "First"' in listed.stdout
    assert made(place) == []


def test_the_real_steps_of_each_vendor_can_be_shown(capsys):
    for vendor in ("nvidia", "amd", "intel"):
        assert run(["gpu", "install", "--vendor", vendor, "--show"]) == 0
        assert run(["gpu", "install", "--vendor", vendor, "--json"]) == 0
    assert "vendor" in capsys.readouterr().out
