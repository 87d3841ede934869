"""What all connections of one gateway process share."""

import asyncio
import secrets
import time
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from modelgrid.domain.routing import GatewaySettings, RoutingTable
from modelgrid.gateway.board import Board
from modelgrid.gateway.counters import Counters
from modelgrid.gateway.figures import Figures
from modelgrid.gateway.fleet import Fleet
from modelgrid.gateway.heads import AnswerHead, KnownHeads
from modelgrid.gateway.keys import KeyRing
from modelgrid.gateway.limits import limiter_of
from modelgrid.gateway.link import REPORT_SECONDS
from modelgrid.gateway.peers import PeerRing, Way, ways_to
from modelgrid.gateway.timers import Deadlines

if TYPE_CHECKING:
    from modelgrid.gateway.exchange import Exchange
    from modelgrid.gateway.protocol import ClientConnection
    from modelgrid.gateway.request import Request


class Core:
    """State of one process. Belongs to the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, index: int, board: Board | None = None) -> None:
        """`board`: not joined yet; without one, limits and figures are this process's alone."""
        self.loop = loop
        self.index = index
        self.board = board or Board.private()
        self.started_at = time.time()
        self.table: RoutingTable | None = None
        """The newest table; None until control or the cache gave one."""
        self.heard_control_at: float | None = None
        """Loop time of the newest table that came over the link."""
        self.settings = GatewaySettings()
        self.keys = KeyRing()
        self.counters = Counters()
        self.peer_ring = PeerRing()
        self.ways: dict[str, Way] = {}
        """To the other nodes, by their names."""
        self.peer_counters = Counters()
        """Of requests that came from other nodes' gateways. They are counted there for the clients they are of."""
        self.peer_connections = self.peer_exchanges = 0
        """How many of `connections` and of `exchanges` are those of other nodes' gateways."""
        self.deadlines = Deadlines(loop)
        self.fleet = Fleet(self)
        self.figures = Figures(self)
        self.board.join()
        self.connections: set[ClientConnection] = set()
        self.all_closed = asyncio.Event()
        self.all_closed.set()
        """No client connection is open."""
        self.exchanges: set[Exchange] = set()
        """Requests in flight: each adds itself when it starts and removes itself when it is over."""
        self.request_heads: KnownHeads[Request] = KnownHeads()
        """Heads of requests that were accepted with the present keys and settings."""
        self.peer_heads: KnownHeads[Request] = KnownHeads()
        """The same of other nodes' gateways: what was accepted there is not accepted from a client, and vice versa."""
        self.answer_heads: KnownHeads[AnswerHead] = KnownHeads()
        """Heads of replicas' answers."""
        self.tell_control: Callable[[], None] | None = None
        """Sends a report now; None without control."""
        self.held_bytes = 0
        """Of request bodies that arrive or wait; `ClientConnection.hold` counts them."""
        self.draining = False
        """No new connection; each open one ends with its present request."""
        self._id_prefix = b"mg-%b" % secrets.token_hex(6).encode()
        self._ids = count(1)
        self._date_of, self._date = 0, b""

    def connection_opened(self, connection: "ClientConnection") -> None:
        """Take a new client connection into account."""
        self.connections.add(connection)
        self.deadlines.watch(connection)
        self.all_closed.clear()

    def connection_closed(self, connection: "ClientConnection") -> None:
        """Forget a client connection."""
        self.connections.discard(connection)
        self.deadlines.forget(connection)
        if not self.connections:
            self.all_closed.set()

    def want(self, model: str) -> None:
        """A known model that is not running was asked for: tell control."""
        before, now = self.counters.wanted.get(model, 0.0), self.deadlines.wall
        self.counters.wanted[model] = now
        if self.tell_control is not None and now - before >= REPORT_SECONDS:  # in between the regular reports do
            self.tell_control()

    def date_line(self) -> bytes:
        """Return the header line that tells the time, to the second."""
        second = int(self.deadlines.wall)
        if second != self._date_of:
            text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second))  # in no locale but C's
            self._date_of, self._date = second, f"Date: {text}\r\n".encode()
        return self._date

    def next_request_id(self) -> bytes:
        """Return an id that no other request has, in this process or another."""
        return b"%b-%x" % (self._id_prefix, next(self._ids))

    def apply(self, table: RoutingTable, *, anyhow: bool = False) -> bool:
        """Use `table` unless it is older than the present one; return whether it is used.

        `anyhow`: use it in any case; what control says first counts, whatever the cache held. Raises ValueError when it
        holds a digest that is not hexadecimal; nothing is applied then.
        """
        old = self.table
        if old is not None and not anyhow and old.epoch == table.epoch and old.generation >= table.generation:
            return False
        default = table.settings.requests_per_minute
        peers_changed = old is None or (old.peers, old.node) != (table.peers, table.node)
        peer_ring = PeerRing(table.peers, table.node) if peers_changed else self.peer_ring
        if old is None or old.keys != table.keys or old.settings.requests_per_minute != default:
            self.keys = KeyRing(table.keys, lambda key: limiter_of(self.board, key, default))
            self.request_heads.clear()
        if peers_changed:
            self.peer_ring, self.ways = peer_ring, ways_to(table.peers, table.node, self.ways)
            self.peer_heads.clear()
        if table.settings != self.settings:
            self.request_heads.clear()
            self.peer_heads.clear()
        self.table = table
        self.settings = table.settings
        self.fleet.apply(table)
        return True
