"""Replicas on other nodes: reached through the gateway of their node, over TLS, with this node's credential.

For everything else they are replicas like any other: chosen by load, failed over, ejected, waited for.
"""

import asyncio
import re
import ssl
from typing import TYPE_CHECKING, Final, cast

from modelgrid.decide.hop import Step, after_refusal
from modelgrid.domain.routing import Replica, ReplicaState
from modelgrid.gateway.line import WaitingLine
from modelgrid.gateway.peers import DEPLOYMENT, REFUSAL, WAIT, Way
from modelgrid.gateway.replica import ReplicaEntry
from modelgrid.gateway.tls import TlsClient
from modelgrid.gateway.upstream import HEAD_LIMIT, Pool, UpstreamConnection

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core
    from modelgrid.gateway.exchange import Exchange

HOP_LOAD: Final = 1
"""What the way to another node counts, as a request does: of equals, the one here is taken."""

_REFUSED: Final = re.compile(rb"\r\n%b: ([a-z_]+)\r\n" % REFUSAL)
_LENGTH: Final = re.compile(rb"\r\nContent-Length: ([0-9]{1,9})\r\n")
_CLOSE: Final = b"\r\nConnection: close\r\n"


class RemoteReplica(ReplicaEntry):
    """One engine of another node."""

    __slots__ = ("_way",)

    def __init__(self, core: "Core", replica: Replica, line: WaitingLine, way: Way | None) -> None:
        """`way`: to its node; without one it takes no requests."""
        super().__init__(core, replica, line)
        self.place = self._way = way
        self.load = HOP_LOAD
        self.update(replica)
        if way is not None:
            self.pool = RemotePool(core, self, way)

    def update(self, replica: Replica) -> None:
        """Take over what a new table says. The credential may be another, too."""
        way = self._way
        super().update(replica)
        table = self._core.table
        credential = table.credential if table is not None else ""
        self.ready = replica.state is ReplicaState.READY and way is not None and credential != ""
        if way is not None:
            host = f"[{way.peer.host}]" if ":" in way.peer.host else way.peer.host
            self.host_header = (
                f" HTTP/1.1\r\nHost: {host}:{way.peer.port}\r\nAuthorization: Bearer {credential}\r\n"
                f"{DEPLOYMENT.decode()}: {replica.id}\r\n"
            ).encode()

    def answered(self, status: int, *, probe: bool) -> None:
        """A 503 says that engine or gateway are busy; the gateway at its node knows which, and acts on it."""
        if status != 503 and not self.leaving:
            super().answered(status, probe=probe)


class RemoteConnection(UpstreamConnection):
    """One connection to a peer's gateway."""

    __slots__ = ("_early", "_node", "_tls")

    def __init__(self, core: "Core", pool: "RemotePool") -> None:
        super().__init__(core, pool)
        self._node = pool.node
        self._early = b""  # of an answer's head that is not whole yet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tls = cast("TlsClient", transport)
        super().connection_made(transport)

    def send(self, exchange: "Exchange", head: bytes, body: bytes) -> None:
        if not exchange.has_alternative:
            head = b"%b%b: yes\r\n\r\n" % (head[:-2], WAIT)
        super().send(exchange, head, body)

    def _undelivered(self, orderly: bool) -> bool:
        self._sent = self._tls.sent  # what the kernel counts is what was encrypted
        return not self._tls.all_sent or super()._undelivered(orderly)

    def _receive(self, exchange: "Exchange", data: bytes) -> None:
        if self._head_done:
            super()._receive(exchange, data)
            return
        data, self._early = self._early + data, b""
        end = data.find(b"\r\n\r\n")
        if end < 0 and len(data) <= HEAD_LIMIT:
            self._early = data
            return
        refused = _REFUSED.search(data, 0, end + 2)
        code = refused[1].decode() if refused is not None else ""
        step = after_refusal(code, alternative=exchange.has_alternative) if code else Step.RELAY
        if step is Step.RELAY:
            super()._receive(exchange, data)
        else:
            self._go_on(data, end)
            exchange.turned_away(_reason(self._node, code), busy=step is Step.ANOTHER)

    def _go_on(self, data: bytes, end: int) -> None:
        """Part with the exchange after a refusal: `data` begins with its head, which ends at `end`."""
        length = _LENGTH.search(data, 0, end + 2)
        whole = length is not None and len(data) == end + 4 + int(length[1])
        self.exchange = None
        if whole and _CLOSE not in data[: end + 2] and self._transport.get_write_buffer_size() == 0:
            self._pool.give_back(self)
        else:
            self.abort()

    def _recall(self, exchange: "Exchange", data: bytes) -> bool:
        """Nothing: each head has another request id, and learning them would only drive out those of engines."""
        return False

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._until_close = False  # gateways frame their answers; a close that anybody could fake ends none


class RemotePool(Pool):
    """The connections to a peer's gateway for one replica."""

    __slots__ = ("_way", "node")

    def __init__(self, core: "Core", replica: RemoteReplica, way: Way) -> None:
        super().__init__(core, replica, way.peer.host, way.peer.port)
        self._way = way
        self.node = way.peer.node

    async def _connect(self) -> UpstreamConnection:
        loop, context = self._core.loop, self._way.context
        connection = RemoteConnection(self._core, self)
        transport, tls = await loop.create_connection(
            lambda: TlsClient(loop, context, cast("asyncio.Protocol", connection)), self._host, self._port
        )
        try:
            await tls.ready
        except BaseException:  # the time to connect may be over
            transport.abort()
            raise
        return connection

    def _why(self, error: OSError) -> str:
        where = f"on node {self.node} ({self._host}:{self._port})"
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"{where} was not asked: whoever answers there does not have the certificate of that node"
        if isinstance(error, ssl.SSLError):
            return f"{where} was not asked: no TLS with whoever answers there ({error.reason or error})"
        return f"{where} {super()._why(error)}"


def _reason(node: str, code: str) -> str:
    if code == "invalid_api_key":
        return f"was not given it: the gateway of node {node} does not know this node's credential"
    return f"was not given it: the gateway of node {node} refused it ({code})"
