"""What a keeper takes from an engine's log, and when it takes a trouble back."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from modelgrid.adapters.clock_system import SystemClock
from modelgrid.adapters.log_files import LogFiles
from modelgrid.domain.engine import EngineRef, EngineState, EngineStatus, LogLine
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.target import RuntimeKind
from modelgrid.ports.runtime import Runtime
from modelgrid.services.kept import KeeperTools, Kept
from modelgrid.services.live import LiveFacts
from modelgrid.services.logs.store import LogStore

ID = DeploymentId("tiny-abc123")
REF = EngineRef(runtime=RuntimeKind.DOCKER, id="c0ffee", deployment=ID, attempt=1, url="http://127.0.0.1:20000")
LINES = (
    'INFO:     127.0.0.1:59120 - "GET /health HTTP/1.1" 200 OK',
    '(APIServer pid=7) INFO:     127.0.0.1:59122 - "GET /health HTTP/1.1" 200 OK',
    'INFO:     127.0.0.1:59124 - "GET /health HTTP/1.1" 503 Service Unavailable',
    'INFO:     127.0.0.1:59126 - "POST /v1/chat/completions HTTP/1.1" 200 OK',
    "(APIServer pid=7) INFO 11-23 16:50:07 [launcher.py:195] Route: /health, Methods: GET",
)


class FakeRuntime:
    state = EngineState.UNKNOWN

    async def inspect(self, ref: EngineRef) -> EngineStatus:
        return EngineStatus(state=self.state)

    async def logs(self, ref: EngineRef, **_: Any) -> AsyncIterator[LogLine]:
        for number, text in enumerate(LINES, start=1):
            yield LogLine(at=float(number), stream="stdout", text=text)


@pytest.fixture
async def logs(tmp_path: Path) -> AsyncIterator[LogStore]:
    store = LogStore(LogFiles(tmp_path / "logs"), SystemClock())
    await store.open()
    yield store
    await store.close()


def kept(logs: LogStore) -> Kept:
    tools = SimpleNamespace(logs=logs, live=LiveFacts(), clock=SystemClock())
    return Kept(ID, cast("KeeperTools", tools))


async def test_our_own_health_checks_do_not_fill_the_log(logs: LogStore) -> None:
    one = kept(logs)
    one.follow(cast("Runtime", FakeRuntime()), REF)
    assert one.follower is not None
    await one.follower
    assert [line.text for line in one.last_lines()] == list(LINES[2:])


async def test_lines_that_are_known_are_not_taken_in_again(logs: LogStore) -> None:
    for _ in range(2):  # a daemon, and the one after it: the runtime gives the same lines again
        one = kept(logs)
        one.follow(cast("Runtime", FakeRuntime()), REF)
        assert one.follower is not None
        await one.follower
    assert [line.text for line in one.last_lines()] == list(LINES[2:])


async def test_a_trouble_ends_when_the_runtime_answers(logs: LogStore) -> None:
    one, fake = kept(logs), FakeRuntime()
    one.live.trouble, one.live.trouble_since = "Docker does not answer (inspect).", 5.0
    await one.end_trouble(cast("Runtime", fake), REF)
    assert one.live.trouble, "it does not answer yet"
    fake.state = EngineState.RUNNING
    await one.end_trouble(cast("Runtime", fake), REF)
    assert (one.live.trouble, one.live.trouble_since) == ("", None)
