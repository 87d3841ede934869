"""The routing table as live objects: models, replicas with their connections, requests that wait.

Replicas and models keep their objects from table to table (same id, same address), and with them counts, connections
and queues.
"""

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

from modelgrid.decide.route import choose
from modelgrid.domain.routing import ModelRoute, Replica, ReplicaState, RoutingTable
from modelgrid.gateway.board import tag_of
from modelgrid.gateway.line import WaitingLine
from modelgrid.gateway.upstream import Pool

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core

SUSPECT_SECONDS = 1.0
"""How long a replica that refused a connection is left aside while others remain. One second, so that a replica that
returned is used within a second even when control could not say so."""


class ReplicaEntry:
    """One replica as this gateway sees it."""

    __slots__ = (
        "_board", "_line", "_record", "_tag", "consecutive_failures", "host_header", "id", "last_failure",
        "last_failure_at", "last_success_at", "outstanding", "places", "pool", "ready", "suspect_until",
    )  # fmt: skip

    def __init__(self, core: "Core", replica: Replica, line: WaitingLine) -> None:
        self.id = replica.id
        self._board = core.board
        self._line = line
        self._tag = tag_of("replica", replica.id)
        self._record = core.board.record(self._tag)
        self.places = replica.places or inf
        """Requests it can work on at once, from all gateways."""
        self.ready = replica.state is ReplicaState.READY
        self.outstanding = 0
        """Requests that this process gave to it and that are not yet over. Changed by `Exchange` alone, through
        `begin` and `end`."""
        self.suspect_until = 0.0
        self.consecutive_failures = 0
        self.last_success_at: float | None = None
        self.last_failure_at: float | None = None
        self.last_failure = ""
        host = f"[{replica.host}]" if ":" in replica.host else replica.host
        self.host_header = f" HTTP/1.1\r\nHost: {host}:{replica.port}\r\n".encode()
        """What follows the target in every request to this replica."""
        self.pool = Pool(core, self, replica.host, replica.port)

    def begin(self) -> None:
        """One more request is given to it."""
        self.outstanding = number = self.outstanding + 1
        self._board.put(self._record, number)

    def end(self) -> None:
        """One request is over; whoever waits may have its place."""
        self.outstanding = number = self.outstanding - 1
        self._board.put(self._record, number)
        if self._line:
            self._line.advance()

    @property
    def full(self) -> bool:
        """Holds as many requests as it can work on.

        With several gateway processes, one whose requests wait elsewhere keeps to its share of the places.
        """
        own, others = self.outstanding, self._board.others
        if own >= self.places or not others:
            return own >= self.places
        if own + self._board.elsewhere(self._record) >= self.places:
            return True
        return self._line.elsewhere > 0 and own * (1 + len(others)) >= self.places

    def refresh(self) -> None:
        """Keep its record on the shared page."""
        self._record = self._board.record(self._tag)
        self._board.touch(self._record)
        self._board.put(self._record, self.outstanding)

    def succeeded(self, now: float) -> None:
        """An answer came to its end; `now` is Unix time."""
        self.consecutive_failures = 0
        self.suspect_until = 0.0
        self.last_success_at = now

    def failed(self, reason: str, now: float) -> None:
        """The transport failed; `now` is Unix time."""
        self.consecutive_failures += 1
        self.last_failure = reason
        self.last_failure_at = now


class ModelEntry:
    """One model and the requests that wait for it."""

    __slots__ = ("_core", "line", "names", "replicas", "rotation", "route")

    def __init__(self, core: "Core", route: ModelRoute) -> None:
        self._core = core
        self.route = route
        self.names = frozenset((route.id, *route.names))
        self.replicas: tuple[ReplicaEntry, ...] = ()
        self.rotation = 0
        self.line = WaitingLine(core, self)

    @property
    def has_ready_replica(self) -> bool:
        """Some replica takes new requests."""
        return any(replica.ready for replica in self.replicas)

    @property
    def has_place(self) -> bool:
        """Some replica would be chosen for a request."""
        return choose(self.replicas, now=self._core.deadlines.now, rotation=0) is not None

    def pick(self, now: float, tried: frozenset[str]) -> ReplicaEntry | None:
        """Return the replica for the next request that has not been to any of `tried`; `now`: the loop's clock."""
        self.rotation += 1
        return choose(self.replicas, now=now, rotation=self.rotation, tried=tried)


class Fleet:
    """All models and replicas of the newest table."""

    def __init__(self, core: "Core") -> None:
        self._core = core
        self._models: dict[str, ModelEntry] = {}
        self._names: dict[str, ModelEntry] = {}
        self._replicas: dict[str, tuple[Replica, ReplicaEntry]] = {}

    def find(self, name: str) -> ModelEntry | None:
        """Return the model with the id or alias `name`."""
        return self._names.get(name)

    def models(self) -> Iterator[ModelEntry]:
        """Return all models in the order of the table."""
        return iter(self._models.values())

    def replicas(self) -> Iterator[ReplicaEntry]:
        """Return all replicas of the table."""
        return (entry for _, entry in self._replicas.values())

    def apply(self, table: RoutingTable) -> None:
        """Replace the old table and let waiting requests go where they now can."""
        before_models, before_replicas = self._models, self._replicas
        self._models, self._names, self._replicas = {}, {}, {}
        for route in table.models:
            model = before_models.pop(route.id, None) or ModelEntry(self._core, route)
            model.route = route
            model.names = frozenset((route.id, *route.names))
            model.replicas = tuple(self._replica(replica, before_replicas, model.line) for replica in route.replicas)
            self._models[route.id] = model
            for name in (route.id, *route.names):
                self._names.setdefault(name, model)
        for _, entry in before_replicas.values():
            entry.pool.close()
        for model in (*before_models.values(), *self._models.values()):
            self._wake(model)

    def close(self) -> None:
        """Close every idle connection."""
        for entry in self.replicas():
            entry.pool.close()

    def refresh(self) -> None:
        """Keep what is on the shared page; to be called every tick."""
        for model in self._models.values():
            model.line.refresh()
        for entry in self.replicas():
            entry.refresh()

    def _replica(
        self, replica: Replica, before: dict[str, tuple[Replica, ReplicaEntry]], line: WaitingLine
    ) -> ReplicaEntry:
        known = before.get(replica.id)
        ready = replica.state is ReplicaState.READY
        if known is not None and (known[0].host, known[0].port) == (replica.host, replica.port):
            entry = before.pop(replica.id)[1]
            if ready and not entry.ready:
                entry.suspect_until = 0.0
            entry.ready = ready
            entry.places = replica.places or inf
        else:
            entry = ReplicaEntry(self._core, replica, line)
        self._replicas[replica.id] = (replica, entry)
        return entry

    def _wake(self, model: ModelEntry) -> None:
        model.line.advance()
        for exchange in model.line.everyone():
            exchange.table_changed()
