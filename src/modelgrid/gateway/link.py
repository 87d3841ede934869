"""The Unix socket between control and each gateway.

Frames are a 4-byte big-endian length and msgpack. Down: whole routing tables. Up: whole reports. There is nothing to
lose: after a reconnect the newest message of each side is the truth. Control listens (`ControlLink`), gateways connect
(`GatewayLink`) and connect again for ever.
"""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from modelgrid.domain.routing import GatewayReport, RoutingTable

log = logging.getLogger(__name__)

FRAME_LIMIT = 64 * 1024 * 1024
"""Bytes of one message. A table with 10,000 keys and 1,000 replicas has about 2 MB."""
REPORT_SECONDS = 1.0
_RETRY_SECONDS = 0.1
"""To knock at a socket of this machine costs next to nothing, and at a start clients wait for the first table."""
"""Control is back within a second or two; until then each gateway tries at this pace."""

_LENGTH = struct.Struct(">I")


class LinkError(Exception):
    """The other side does not speak this protocol."""


def frame(message: GatewayReport | RoutingTable) -> bytes:
    """Return `message` as one frame."""
    payload = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(payload)) + payload


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """Return the payload of the next frame. Raises IncompleteReadError at the end and LinkError past the limit."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > FRAME_LIMIT:
        raise LinkError(f"a message of {length} bytes, over the limit of {FRAME_LIMIT}")
    return await reader.readexactly(length)


class _Peer:
    """One connected gateway, at control's side. Sends the newest table only: one that is slow skips the others."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.report: GatewayReport | None = None
        self.task: asyncio.Task[None] | None = None
        self._writer = writer
        self._newest: bytes | None = None
        self._changed = asyncio.Event()

    def offer(self, table: bytes) -> None:
        self._newest = table
        self._changed.set()

    async def send_tables(self) -> None:
        with suppress(ConnectionError):  # the reading side ends the peer
            while True:
                await self._changed.wait()
                self._changed.clear()
                newest, self._newest = self._newest, None
                if newest is not None:
                    self._writer.write(newest)
                    await self._writer.drain()


class ControlLink:
    """Control's end: one listening socket for all gateways of this machine.

    For use in one event loop, asyncio's own or uvloop. `on_report` is called in that loop for each report and must
    not block.
    """

    def __init__(self, path: Path, on_report: Callable[[GatewayReport], None]) -> None:
        self._path = path
        self._on_report = on_report
        self._server: asyncio.Server | None = None
        self._identity = (0, 0)
        self._peers: set[_Peer] = set()
        self._table: bytes | None = None

    @property
    def gateways(self) -> tuple[GatewayReport, ...]:
        """The newest report of each connected gateway, by index."""
        reports = [peer.report for peer in self._peers if peer.report is not None]
        return tuple(sorted(reports, key=lambda report: (report.gateway, report.started_at)))

    async def start(self) -> None:
        """Listen; a socket file that a former control left behind is replaced. Raises OSError when it cannot."""
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        umask = os.umask(0o177)  # from the first moment only this user can connect
        try:
            listening.bind(os.fspath(self._path))
        except OSError:
            listening.close()
            raise
        finally:
            os.umask(umask)
        status = self._path.stat()
        self._identity = (status.st_dev, status.st_ino)
        self._server = await asyncio.start_unix_server(self._serve, sock=listening)

    def publish(self, table: RoutingTable) -> None:
        """Send `table` to every gateway, now and when it connects later. Does not wait for them."""
        self._table = frame(table)
        for peer in self._peers:
            peer.offer(self._table)

    async def close(self) -> None:
        """Disconnect all gateways and stop listening; they keep serving with what they have."""
        if self._server is not None:
            self._server.close()
        tasks = [peer.task for peer in self._peers if peer.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None
        with suppress(FileNotFoundError):
            status = self._path.stat()
            if (status.st_dev, status.st_ino) == self._identity:  # not that of a successor
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = _Peer(writer)
        peer.task = asyncio.current_task()
        self._peers.add(peer)
        if self._table is not None:
            peer.offer(self._table)
        sending = asyncio.create_task(peer.send_tables())
        try:
            while True:
                peer.report = msgspec.msgpack.decode(await read_frame(reader), type=GatewayReport)
                self._on_report(peer.report)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the gateway ended or restarts: it connects again
        except (LinkError, msgspec.MsgspecError) as error:
            log.warning("a gateway sent what is not a report (%s); disconnected", error)
        except asyncio.CancelledError:
            pass  # close()
        finally:
            self._peers.discard(peer)
            sending.cancel()
            writer.close()


class GatewayLink:
    """A gateway's end: connects to control and stays connected; never in the way of serving."""

    def __init__(
        self,
        path: Path,
        report: Callable[[], GatewayReport],
        on_table: Callable[[RoutingTable], None],
        on_connect: Callable[[], None],
    ) -> None:
        """`report` makes the present report. `on_table` takes each table and may raise ValueError to reject it.
        `on_connect` is called before the first report of each connection."""
        self._path = path
        self._report = report
        self._on_table = on_table
        self._on_connect = on_connect
        self._writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_unix_connection(os.fspath(self._path))
                log.info("connected to control")
                await self._session(reader, writer)
            await asyncio.sleep(_RETRY_SECONDS)

    def send_report(self) -> None:
        """Send a report now; nothing happens while control is away."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame(self._report()))

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._on_connect()
        self._writer = writer
        reporting = asyncio.create_task(self._send_reports(writer))
        try:
            while True:
                self._take(await read_frame(reader))
                self.send_report()  # control waits to hear which table is in use, for example to end a drain
        except (asyncio.IncompleteReadError, ConnectionError):
            log.warning("control went away; serving goes on with the last routing table")
        except LinkError as error:
            log.warning("control sent %s; connecting again", error)
        finally:
            self._writer = None
            reporting.cancel()
            writer.close()

    def _take(self, payload: bytes) -> None:
        try:
            self._on_table(msgspec.msgpack.decode(payload, type=RoutingTable))
        except (msgspec.MsgspecError, ValueError) as error:
            log.warning("a routing table was not usable (%s); the present one stays in use", error)

    async def _send_reports(self, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):  # the reading side ends the session
            while True:
                writer.write(frame(self._report()))
                await writer.drain()
                await asyncio.sleep(REPORT_SECONDS)
