"""R5: control dies between an effect and its record, at each step of a start, a stop, a removal and a failure.

After each death there is exactly one engine where one is wanted, and none where none is; asking again for what was
asked changes nothing.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import pytest
from daemon_under_test import SMALL, DaemonUnderTest, daemon_in, wait_until

from modelgrid.domain.errors import DaemonUnreachable, NotFound

ROLL_EVERY = 3
"""The supervisor waits longer after each death; a fresh one does not hold the earlier deaths against it."""
TRAFFIC = {"requests_per_second", "error_ratio"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    with daemon_in(tmp_path_factory.mktemp("daemon")) as daemon:
        daemon.environment["MODELGRID_FAILPOINT_FILE"] = str(daemon.folder / "failpoint")
        daemon.start()
        yield daemon
        daemon.clear()
        assert daemon.stop() == 0, daemon.words()


@pytest.fixture
def die_at(daemon: DaemonUnderTest) -> Iterator[Callable[[str, Callable[[], object]], None]]:
    deaths = 0

    def die_at(name: str, operation: Callable[[], object]) -> None:
        """Do `operation`, which leads control to the failpoint; return when the next control answers."""
        nonlocal deaths
        deaths += 1
        armed = daemon.folder / "failpoint"
        armed.write_text(name)
        old = daemon.control_pid
        with contextlib.suppress(DaemonUnreachable):  # it may die before it can answer
            operation()
        wait_until(f"control dies at {name}", lambda: not armed.exists(), 30, daemon.words)
        daemon.wait_new_control(old)

    yield die_at
    daemon.clear()
    if deaths >= ROLL_EVERY:
        daemon.restart()


def the_one(daemon: DaemonUnderTest, attempts: tuple[int, ...]) -> dict[str, Any]:
    """Return the one deployment once it runs, having made sure that it has the one engine there is."""
    (found,) = daemon.wait_for({"running": 1}, target=SMALL)
    daemon.wait_routed(SMALL)
    ((deployment, pid),) = daemon.engine_pids().items()
    assert deployment == found["id"]
    assert found["engine_id"].startswith(f"{pid}:")
    assert found["attempt"] in attempts
    assert len(daemon.engine_records()) == 1
    return dict(found)


def nothing_more_happens(daemon: DaemonUnderTest, repeat: Callable[[], object]) -> None:
    before = _what_happened(daemon)
    repeat()
    assert _what_happened(daemon) == before


def _what_happened(daemon: DaemonUnderTest) -> object:
    """Deployments, their engines and events; without the traffic, which is measured and comes a second later."""
    found = daemon.deployments()
    kept = [{key: value for key, value in item.items() if key not in TRAFFIC} for item in found]
    return kept, daemon.engine_pids(), [daemon.event_kinds(item["id"]) for item in found]


def test_at_each_step_of_a_start(daemon: DaemonUnderTest, die_at: Callable[..., None]) -> None:
    def ensure() -> object:
        return daemon.client.put_target(SMALL, {})

    for name in ("created", "prepared", "started", "ready"):
        die_at(name, ensure)
        the_one(daemon, attempts=(1,))
        nothing_more_happens(daemon, ensure)
        daemon.clear()
        assert daemon.engine_records() == []


def test_at_each_step_of_a_stop(daemon: DaemonUnderTest, die_at: Callable[..., None]) -> None:
    (found,) = daemon.run()

    def stop() -> object:
        return daemon.client.act(found["id"], "stop")

    for attempt, name in ((2, "stopped"), (3, "engine_removed")):
        die_at(name, stop)
        (stopped,) = daemon.wait_for({"stopped": 1}, target=SMALL)
        assert "stop requested by local" in stopped["reason"]
        wait_until("no engine is left", lambda: not daemon.engine_pids() and not daemon.engine_records(), 20)
        nothing_more_happens(daemon, stop)
        daemon.client.act(found["id"], "start")
        the_one(daemon, attempts=(attempt,))


def test_at_each_step_of_a_removal(daemon: DaemonUnderTest, die_at: Callable[..., None]) -> None:
    for name in ("stopped", "engine_removed", "archived"):
        (found,) = daemon.run()
        die_at(name, lambda gone=found: daemon.client.remove_deployment(gone["id"]))
        wait_until("it is gone", lambda: not daemon.deployments(SMALL), 30, daemon.words)
        assert daemon.client.show_history(found["id"])["reason"] == "remove requested by local"
        assert daemon.event_kinds(found["id"]).count("removed") == 1
        assert daemon.client.list_targets()["items"] == []
        wait_until("no engine is left", lambda: not daemon.engine_pids() and not daemon.engine_records(), 20)
        with pytest.raises(NotFound):
            daemon.client.remove_deployment(found["id"])


def test_between_a_removal_and_its_target(daemon: DaemonUnderTest, die_at: Callable[..., None]) -> None:
    """Nothing was acknowledged: the instance goes, and the target, which still stands, gets another one."""
    (found,) = daemon.run()
    die_at("dismissed", lambda: daemon.client.remove_deployment(found["id"]))
    wait_until(
        "another one runs in its place",
        lambda: [d["id"] for d in daemon.deployments(SMALL) if d["state"] == "running"] not in ([], [found["id"]]),
        40,
        daemon.words,
    )
    wait_until("the first one is gone", lambda: len(daemon.deployments(SMALL)) == 1, 40, daemon.words)
    the_one(daemon, attempts=(1,))


def test_around_the_record_of_a_failure(daemon: DaemonUnderTest, die_at: Callable[..., None]) -> None:
    (found,) = daemon.run()
    for failures, name in ((1, "failed"), (2, "failure_recorded")):
        (pid,) = daemon.engine_pids().values()
        die_at(name, lambda pid=pid: os.kill(pid, signal.SIGKILL))
        wait_until(
            "it runs again",
            lambda n=failures: [d["attempt"] for d in daemon.deployments(SMALL) if d["state"] == "running"] == [n + 1],
            40,
            daemon.words,
        )
        the_one(daemon, attempts=(failures + 1,))
        assert len(daemon.client.show_deployment(found["id"])["failures"]) == failures, "no failure is counted twice"
