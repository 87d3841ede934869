"""The wall clock is set an hour forward and back (row R22). Nothing expires, restarts or is counted anew by that."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from daemon_under_test import SMALL, DaemonUnderTest, wait_until
from gateway_kit import STREAM_HEAD, Peer, Seen, Upstream, answers, gateway, grant, model, request, secret, until

HOUR = 3600.0
SHIFTED = """
import os, time
_real, _path = time.time, os.environ["TEST_CLOCK_SHIFT"]
def _shifted():
    try:
        with open(_path) as file:
            return _real() + float(file.read() or 0)
    except FileNotFoundError:
        return _real()
time.time = _shifted
time.time_ns = lambda: int(_shifted() * 1e9)
"""
"""Loaded by every Python process below that environment: only the wall clock moves, as when somebody sets it."""


class WallClock:
    """The clock of the processes that are started with its environment."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "shift"
        (folder / "sitecustomize.py").write_text(SHIFTED)
        self.environment = {"PYTHONPATH": str(folder), "TEST_CLOCK_SHIFT": str(self._path)}

    def shift(self, seconds: float) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._path)


async def test_a_gateway_goes_on_as_before(tmp_path: Path) -> None:
    held = asyncio.Event()

    async def script(seen: Seen, peer: Peer) -> None:
        if b"stream" in seen.body:
            await peer.send(STREAM_HEAD)
            await held.wait()
            await peer.send(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        else:
            await answers(seen, peer)

    clock = WallClock(tmp_path)
    async with Upstream(script) as upstream, gateway(tmp_path) as grid:
        await grid.kill()
        await grid.start(**clock.environment)
        once = secret("once")
        far = time.time() + 3 * HOUR
        grid.keys = (grant(expires_at=far), grant(once, id="once", requests_per_minute=1))
        await grid.publish(model("m", (upstream.replica(),)), model("late", loading_since=time.time()))
        assert (await grid.chat(key=once)).status == 200
        async with grid.client() as client:
            await client.send(request("POST", "/v1/chat/completions", {"model": "m", "stream": True}))
            waiting = asyncio.create_task(grid.chat("late"))
            await grid.wait_for_metric('modelgrid_queue_length{model="late"}', 1)
            for shift in (HOUR, -HOUR):
                clock.shift(shift)
                seen = len(grid.reports)
                await until(lambda seen=seen: len(grid.reports) >= seen + 2, "the new time is in use")  # type: ignore[misc]
                assert (await grid.chat()).status == 200
                assert (await grid.chat(key=once)).status == 429, "a limit is not refilled by a clock"
                assert not waiting.done(), "who waits goes on waiting"
            held.set()
            assert (await client.response()).complete
        await grid.publish(model("m", (upstream.replica(),)), model("late", (upstream.replica(),)))
        assert (await waiting).status == 200
    print("R22: a gateway, an hour forward and back: 0 keys expired, 0 limits refilled, 0 streams and 0 waiting lost")


def test_a_daemon_goes_on_as_before(new_daemon: Callable[..., DaemonUnderTest], tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    daemon = new_daemon()
    daemon.start(**clock.environment)
    (before,) = daemon.run()
    engines, gateways = daemon.engine_pids(), daemon.gateway_pids
    for replicas, shift in ((2, HOUR), (3, -HOUR)):
        clock.shift(shift)
        created = daemon.client.generate_api_key({"label": f"at {shift}"})["created_at"]
        assert abs(created - time.time() - shift) < 60, "the daemon lives in that time"
        daemon.client.put_target(SMALL, {"replicas": replicas})
        found = daemon.wait_for({"running": replicas}, target=SMALL)
        assert {item["attempt"] for item in found} == {1}, "nothing was started anew"
        daemon.wait_routed(SMALL)
    assert daemon.engine_pids()[before["id"]] == engines[before["id"]], "the engine was left alone"
    assert daemon.gateway_pids == gateways
    print(f"R22: a daemon, an hour forward and back: 0 of 3 engines and 0 of {len(gateways)} gateways restarted")
    wait_until("all is well", lambda: daemon.gateway_answers() and daemon.control_answers())
    daemon.clear()
