"""The socket between control and gateways, and what a gateway does without control."""

import asyncio
import os
import stat
import struct
from pathlib import Path

import pytest
from gateway_kit import (
    PATIENCE,
    STREAM_HEAD,
    Gateway,
    Peer,
    Seen,
    Upstream,
    answers,
    gateway,
    grant,
    request,
    secret,
    until,
)

from modelgrid.domain.routing import GatewayReport, RoutingTable
from modelgrid.gateway.link import ControlLink, GatewayLink


def report(generation: int = 0) -> GatewayReport:
    return GatewayReport(gateway="0", pid=1, started_at=1.0, epoch="e", generation=generation)


class Side:
    """A gateway's end in this process."""

    def __init__(self, path: Path) -> None:
        self.tables: list[RoutingTable] = []
        self.link = GatewayLink(path, report, self.take, lambda: None)
        self.task = asyncio.create_task(self.link.run())

    def take(self, table: RoutingTable) -> None:
        if table.generation == 13:
            raise ValueError("not usable")
        self.tables.append(table)

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_tables_go_down_and_reports_come_up(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    reports: list[GatewayReport] = []
    control = ControlLink(path, reports.append)
    await control.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    control.publish(RoutingTable(epoch="e", generation=1))
    sides = [Side(path), Side(path)]
    await until(lambda: all(side.tables for side in sides), "the present table on connect")
    await until(lambda: len(control.gateways) == 2, "a report on connect")
    for generation in (2, 13, 3):
        control.publish(RoutingTable(epoch="e", generation=generation))
    await until(lambda: all(side.tables[-1].generation == 3 for side in sides), "the newest table")
    assert all(table.generation != 13 for side in sides for table in side.tables)
    await sides[0].end()
    await until(lambda: len(control.gateways) == 1, "the gateway that left is gone")
    await sides[1].end()
    await control.close()
    assert not path.exists()


async def test_the_link_survives_control_and_a_stale_socket(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    side = Side(path)
    for generation in (1, 2, 3):
        control = ControlLink(path, lambda _: None)
        await control.start()
        control.publish(RoutingTable(epoch="e", generation=generation))
        await until(lambda: bool(side.tables) and side.tables[-1].generation == generation, "a table")  # noqa: B023
        os.link(path, tmp_path / "kept")  # a control that is killed leaves its socket behind
        await control.close()
        (tmp_path / "kept").rename(path)
    await side.end()


async def test_closing_does_not_remove_the_socket_of_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    old, new = ControlLink(path, lambda _: None), ControlLink(path, lambda _: None)
    await old.start()
    await new.start()
    await old.close()
    assert path.exists()
    await new.close()
    assert not path.exists()


async def test_frames_that_are_no_reports_end_the_connection_only(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    reports: list[GatewayReport] = []
    control = ControlLink(path, reports.append)
    await control.start()
    for frame in (
        struct.pack(">I", 1 << 31),
        struct.pack(">I", 3) + b"\xc1\xc1\xc1",
        struct.pack(">I", 1) + b"\x80",
        b"\0",
    ):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(frame)
        if frame == b"\0":
            writer.write_eof()
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()
    side = Side(path)
    await until(lambda: len(reports) > 0, "a good report")
    await side.end()
    await control.close()


async def test_a_gateway_that_does_not_read_skips_tables_and_holds_nothing_up(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    control = ControlLink(path, lambda _: None)
    await control.start()
    reader, writer = await asyncio.open_unix_connection(str(path), limit=1024)
    await until(lambda: bool(control._peers), "connected")
    pad = "x" * 300_000
    for generation in range(1, 101):
        control.publish(RoutingTable(epoch="e", generation=generation, control_metrics=pad))
        await asyncio.sleep(0)
    received = 0
    last = b""
    while b"\xaageneration" not in last or b"\xaageneration\x64" not in last:
        last = (last[-200_000:] if len(last) > 400_000 else last) + await asyncio.wait_for(reader.read(65536), PATIENCE)
        received += 65536
    assert received < 50 * len(pad)
    writer.close()
    await control.close()


async def test_a_stream_does_not_notice_that_control_dies_and_returns(tmp_path: Path) -> None:
    step = asyncio.Event()

    async def slow(seen: Seen, peer: Peer) -> None:
        await peer.send(STREAM_HEAD)
        await peer.event("1")
        await step.wait()
        await peer.event("2")
        await peer.event("[DONE]")
        await peer.send(b"0\r\n\r\n")

    async with Upstream(slow) as upstream, gateway(tmp_path, upstream.replica()) as grid, grid.client() as client:
        await client.send(request("POST", "/v1/chat/completions", {"model": "m"}))
        await client.head()
        await client.reader.readuntil(b"data: 1\n\n")
        await grid.stop_control()
        assert (await grid.ask("GET", "/v1/models")).status == 200  # new requests are served without control too
        grid.epoch = "epoch-2"  # another control, which counts from the start
        grid.generation = 0
        await grid.start_control()
        await grid.serve(upstream.replica())
        step.set()
        rest = await asyncio.wait_for(client.reader.readuntil(b"0\r\n\r\n"), PATIENCE)
        assert b"data: 2\n\n" in rest
        assert b"[DONE]" in rest
        await grid.idle()


async def test_a_gateway_that_restarts_without_control_serves_from_its_cache(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        cache = tmp_path / "routing.msgpack"
        await until(lambda: cache.exists() and str(upstream.port).encode() in cache.read_bytes(), "the table is saved")
        assert stat.S_IMODE(cache.stat().st_mode) == 0o600
        await grid.stop_control()
        await grid.kill()
        # a request that arrives between two processes waits in the socket, which the supervisor holds
        asked = asyncio.create_task(grid.chat())
        await grid.start()
        assert (await asked).status == 200
        assert (await grid.ask("GET", "/health", key=None)).status == 200
        assert (await grid.chat(key=secret("wrong"))).status == 401
        await grid.start_control()
        grid.keys = (grant(secret("new")),)
        assert grid.link is not None
        grid.link.publish(grid.table())
        while (await grid.chat(key=secret("new"))).status != 200:
            await asyncio.wait_for(asyncio.sleep(0.01), PATIENCE)
        assert (await grid.chat()).status == 401
        assert await grid.stop() == 0


async def test_what_control_says_counts_whatever_the_saved_table_claims_to_be(tmp_path: Path) -> None:
    """A table that another run saved under the same epoch and number does not outlive the first word of control."""
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        cache = tmp_path / "routing.msgpack"
        await until(lambda: cache.exists() and str(upstream.port).encode() in cache.read_bytes(), "the table is saved")
        await grid.stop_control()
        assert await grid.stop() == 0
        generation = grid.generation
        grid.keys, grid.generation = (grant(secret("other run")),), generation - 1
        await grid.start_control()
        assert grid.link is not None
        grid.link.publish(grid.table())
        assert grid.generation == generation
        await grid.start()
        while (await grid.chat(key=secret("other run"))).status != 200:
            await asyncio.wait_for(asyncio.sleep(0.01), PATIENCE)
        assert (await grid.chat()).status == 401


async def test_it_says_ready_when_it_can_serve_and_not_before(tmp_path: Path) -> None:
    grid = Gateway(tmp_path)
    ours, theirs = os.pipe()
    try:
        await grid.start(theirs, MODELGRID_READY_FD=str(theirs))
        os.close(theirs)
        os.set_blocking(ours, False)
        assert (await grid.ask("GET", "/health", key=None)).status == 503
        with pytest.raises(BlockingIOError):
            os.read(ours, 100)
        await grid.start_control()
        await grid.serve()
        assert (await grid.ask("GET", "/health", key=None)).status == 200
        assert os.read(ours, 100) == b"ready\n"
        assert os.read(ours, 100) == b""  # closed
        assert await grid.stop() == 0
    finally:
        os.close(ours)
        await grid.stop_control()
        grid.listening.close()


async def test_a_damaged_cache_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "routing.msgpack").write_bytes(b"\x93damaged")
    grid = Gateway(tmp_path)
    try:
        await grid.start()
        assert (await grid.ask("GET", "/health", key=None)).status == 503
        await grid.start_control()
        await grid.serve()
        assert await grid.stop() == 0
        assert "not usable" in grid.log.read_text()
    finally:
        await grid.stop_control()
        grid.listening.close()
