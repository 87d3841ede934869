"""What a keeper takes from an engine's log, and when it takes a trouble back."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

from modelgrid.domain.engine import EngineRef, EngineState, EngineStatus, LogLine
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.target import RuntimeKind
from modelgrid.ports.runtime import Runtime
from modelgrid.services.engine_logs import EngineLogs
from modelgrid.services.kept import KeeperTools, Kept
from modelgrid.services.live import LiveFacts

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


def kept() -> Kept:
    tools = SimpleNamespace(logs=EngineLogs(), live=LiveFacts())
    return Kept(ID, cast("KeeperTools", tools))


async def test_our_own_health_checks_do_not_fill_the_log() -> None:
    one = kept()
    one.follow(cast("Runtime", FakeRuntime()), REF)
    assert one.follower is not None
    await one.follower
    assert [line.text for line in one.last_lines()] == list(LINES[2:])


async def test_a_trouble_ends_when_the_runtime_answers() -> None:
    one, fake = kept(), FakeRuntime()
    one.live.trouble, one.live.trouble_since = "Docker does not answer (inspect).", 5.0
    await one.end_trouble(cast("Runtime", fake), REF)
    assert one.live.trouble, "it does not answer yet"
    fake.state = EngineState.RUNNING
    await one.end_trouble(cast("Runtime", fake), REF)
    assert (one.live.trouble, one.live.trouble_since) == ("", None)
