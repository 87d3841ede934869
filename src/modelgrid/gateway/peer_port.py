"""The port on which gateways of other nodes come with requests for engines of this node.

The gateway where a request entered has checked its key and its limits, chosen the engine and asked for usage. Here the
calling node is checked instead, and the request goes to an engine of this node or to none: one hop at most. What it
takes is counted apart, as the other gateway counts it for its client.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from socket import socket
from time import perf_counter
from typing import TYPE_CHECKING

from modelgrid.gateway.admit import admit
from modelgrid.gateway.affinity import NO_PROMPT, prompt_of
from modelgrid.gateway.errors import RESTARTING, Refusal
from modelgrid.gateway.exchange import Exchange
from modelgrid.gateway.no_replica import line_full
from modelgrid.gateway.peers import REFUSAL
from modelgrid.gateway.protocol import ClientConnection
from modelgrid.gateway.reader import RequestReader
from modelgrid.gateway.replica import STOPPED
from modelgrid.gateway.tls import tls_of_server

if TYPE_CHECKING:
    import asyncio

    from modelgrid.gateway.core import Core
    from modelgrid.gateway.replica import ReplicaEntry
    from modelgrid.gateway.request import Request


@dataclass(frozen=True, slots=True)
class PeerPort:
    """Where and as whom this node listens for its peers."""

    sockets: Sequence[socket]
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return how it answers. Raises OSError (`ssl.SSLError` is one) when the certificate cannot be used."""
        context = tls_of_server(self.certificate, self.key, ssl.TLSVersion.TLSv1_3)
        context.num_tickets = 0  # connections are kept, not resumed
        return context


class PeerConnection(ClientConnection):
    """One connection of a peer's gateway."""

    __slots__ = ()

    def __init__(self, core: "Core") -> None:
        super().__init__(core)
        self._reader = RequestReader(core, self, core.peer_heads)

    def check(self, request: "Request") -> Refusal | None:
        return request.check_head_of_peer(self._core.peer_ring, self._core.settings)

    def refuse(self, request: "Request", refusal: Refusal, request_id: bytes) -> None:
        if (
            refusal is RESTARTING or refusal.code == STOPPED
        ):  # an engine may have had it: not a 503, which would be asked of another one
            refusal = replace(refusal, status=502)
        request.extra_headers += b"%b: %b\r\n" % (REFUSAL, refusal.code.encode())
        super().refuse(request, refusal, request_id)

    def connection_made(self, transport: "asyncio.BaseTransport") -> None:
        self._core.peer_connections += 1
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._core.peer_connections -= 1
        super().connection_lost(exc)

    def on_deadline(self) -> None:
        if self._idle:
            # Without TLS's own farewell, during which a request that crosses it would be taken and not read. So the
            # kernel of the other side knows that we have not got it.
            self._transport.abort()
        else:
            super().on_deadline()

    @property
    def _idle(self) -> bool:
        busy = self._lingering or self._write_paused or self._reader.request is not None
        return self._exchange is None and not busy

    def _proxy(self, request: "Request") -> None:
        body = request.take_body()
        model = admit(self._core, request, body)
        if isinstance(model, Refusal):
            self._refuse(request, model)
            self._after_answer()
        else:
            self._exchange = PeerExchange(self._core, self, request, model, body)
            self._exchange.start()

    def _count(self, request: "Request", status: int) -> None:
        node = request.grant.label if request.grant is not None else ""
        self._core.peer_counters.answered_here(node, status, perf_counter() - request.started)


class PeerExchange(Exchange):
    """One request of a peer's gateway and the engine of this node that answers it."""

    of_peer = True

    def start(self) -> None:
        self._core.peer_exchanges += 1
        super().start()

    def _pick(self, tried: frozenset[str]) -> "ReplicaEntry | None":
        """Take the engine that the other gateway has chosen, or another one here."""
        model, request, now = self._model, self._request, self._core.deadlines.clock
        local = model.local
        if self._prompt is None and request.fields is not None and len(local) > 1:
            self._prompt = prompt_of(request.fields, model.route.id)
        for replica in local:
            if replica.id == request.deployment and replica.takes(now) and replica.id not in tried:
                return replica
        return model.pick(now, tried, self._prompt or NO_PROMPT, request.session, local)

    def _may_wait(self) -> bool:
        model = self._model
        if self._core.fleet.find(model.route.id) is not model:
            return False
        return any(replica.ready and replica.id not in self._tried for replica in model.local)

    def _wait(self) -> None:
        if self._request.waits or not self._may_wait():
            super()._wait()
        else:  # the other gateway has an engine elsewhere that would take it now
            self._turn_away(line_full(self._model))

    def _over(self, status: str, tail: bytes = b"") -> None:
        self._core.peer_exchanges -= 1
        super()._over(status, tail)
