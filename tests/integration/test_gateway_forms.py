"""The gateway serves alike whether its hot path is compiled or interpreted.

Where it was compiled (`make test` does that where it can), every other test with a gateway process is one of the
compiled form, and tests that import modules run the sources. Here it is the other way round: for the tests of the
modules, and for what a gateway process does most.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.gateway_kit import COMPLETION, STREAM_HEAD, Gateway, Peer, Seen, Upstream, json_answer

from modelgrid.gateway import compiled

ROOT = Path(__file__).parents[2]
UNITS = (
    "unit/test_gateway_board.py", "unit/test_gateway_parts.py", "unit/test_gateway_relay.py",
    "unit/test_gateway_sheet.py", "property/test_admission_properties.py", "property/test_routing_properties.py",
    "property/test_gateway_chunk_properties.py",
)  # fmt: skip
"""Tests of compiled modules that put no classes of their own in the place of compiled ones."""
PROCESSES = ("integration/test_gateway_serving.py", "integration/test_gateway_usage.py")

CHAT = "/v1/chat/completions"

needs_compiled = pytest.mark.skipif(not compiled.place().is_dir(), reason="not compiled here (`make compiled`)")


async def script(seen: Seen, peer: Peer) -> None:
    if b'"stream"' not in seen.body:
        await peer.send(json_answer(COMPLETION))
        return
    await peer.send(STREAM_HEAD)
    for number in range(5):
        await peer.event(f'{{"n":{number}}}')
    if b"breaks" in seen.body:
        peer.reset()
    else:
        await peer.event("[DONE]")
        await peer.send(b"0\r\n\r\n")


@pytest.mark.parametrize("form", [pytest.param("compiled", marks=needs_compiled), "interpreted"])
async def test_both_forms_serve(form: str, tmp_path: Path) -> None:
    ask = {"model": "m", "messages": []}
    async with Upstream(script) as replica:
        grid = Gateway(tmp_path)
        try:
            await grid.start_control()
            await grid.start(**{compiled.PURE: "" if form == "compiled" else "1"})
            await grid.serve(replica.replica("r"))
            assert (await grid.chat()).json() == COMPLETION
            for _ in range(3):  # the second head is known, and so is the second answer
                assert (await grid.chat()).status == 200
            whole = await grid.ask("POST", CHAT, ask | {"stream": True})
            assert whole.body.count(b"data: ") == 6
            assert whole.body.endswith(b"data: [DONE]\n\n")
            broken = await grid.ask("POST", CHAT, ask | {"stream": True, "user": "breaks"})
            assert broken.complete
            assert b"replica_failed" in broken.body
            assert b"[DONE]" not in broken.body
            assert (await grid.ask("POST", CHAT, b"{")).status == 400
            assert grid.reports[-1].compiled is (form == "compiled")
            assert await grid.stop() == 0
        finally:
            if grid.process is not None and grid.process.returncode is None:
                await grid.kill()
            await grid.stop_control()
            grid.close()
    assert "Traceback" not in grid.log.read_text()


@needs_compiled
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("tests", "form"),
    [(UNITS, {"MODELGRID_TEST_COMPILED": "1"}), (PROCESSES, {compiled.PURE: "1"})],
    ids=["modules-compiled", "processes-interpreted"],
)
def test_the_tests_pass_the_other_way_round(tests: tuple[str, ...], form: dict[str, str]) -> None:
    paths = [str(ROOT / "tests" / name) for name in tests]
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *paths]
    done = subprocess.run(argv, cwd=ROOT, env=os.environ | form, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@needs_compiled
def test_an_exception_in_compiled_code_names_the_line_of_its_source() -> None:
    code = (
        "from modelgrid.gateway import compiled; assert compiled.use()\n"
        "from modelgrid.gateway.counters import Counters; Counters().answered_here('', 'not a number', 1.0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert 'modelgrid/gateway/counters.py", line ' in done.stderr
    assert "in answered_here" in done.stderr or "TypeError" in done.stderr
