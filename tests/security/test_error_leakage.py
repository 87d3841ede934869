"""S26: what nobody foresaw is answered in the one shape, and its insides stay in the daemon's log."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from sqlalchemy.exc import OperationalError
from starlette.responses import StreamingResponse

from modelgrid.api.app import create_app
from modelgrid.api.context import Services
from modelgrid.config.model import Config

TOKEN = {"Authorization": "Bearer local-token"}
INSIDES = ("Traceback", "SELECT", "sqlite", "/var/lib", ".py", "hunter2", "OperationalError")


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    services = SimpleNamespace(
        config=Config(),
        settings=SimpleNamespace(running=Config()),
        nodes=lambda: (),
        control=None,
        hub=SimpleNamespace(position="0-0"),
    )
    app = create_app(cast("Services", cast("Any", services)), "local-token")

    @app.get("/v1/_ui/boom")
    async def boom() -> None:
        raise OperationalError("SELECT hunter2 FROM users", {}, Exception("/var/lib/modelgrid/state.db is locked"))

    @app.get("/v1/_ui/bad-answer")
    async def bad_answer() -> int:
        return cast("int", "hunter2")

    @app.get("/v1/_ui/broken-stream")
    async def broken_stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"begun"
            raise RuntimeError("hunter2")

        return StreamingResponse(parts())

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/_ui/boom", "/v1/_ui/bad-answer", "/v1/_ui/overview"])
async def test_nothing_of_the_inside_is_shown(
    http: httpx.AsyncClient, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = await http.get(path, headers=TOKEN)
    assert answer.status_code == 500
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json()) == {"error"}
    assert answer.json()["error"]["code"] == "internal"
    assert set(answer.json()["error"]) == {"code", "message", "fix", "details"}
    assert not any(word in answer.text for word in INSIDES)
    said = capsys.readouterr()
    assert "Traceback" in said.out + said.err, "the log has it whole"


async def test_an_answer_that_breaks_is_not_passed_off_as_whole(http: httpx.AsyncClient) -> None:
    with pytest.raises(RuntimeError, match="hunter2"):  # uvicorn closes the connection on this
        await http.get("/v1/_ui/broken-stream", headers=TOKEN)
