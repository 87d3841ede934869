"""The routing table as live objects: models, replicas with their connections, requests that wait.

Replicas and models keep their objects from table to table (same id, same address), and with them counts, connections
and queues.
"""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelgrid.decide.route import choose
from modelgrid.domain.routing import ModelRoute, ModelState, Replica, ReplicaState, RoutingTable
from modelgrid.gateway.upstream import Pool

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core
    from modelgrid.gateway.exchange import Exchange

SUSPECT_SECONDS = 1.0
"""How long a replica that refused a connection is left aside while others remain. One second, so that a replica that
returned is used within a second even when control could not say so."""


class ReplicaEntry:
    """One replica as this gateway sees it."""

    __slots__ = (
        "consecutive_failures", "host_header", "id", "last_failure", "last_failure_at", "last_success_at",
        "outstanding", "pool", "ready", "suspect_until",
    )  # fmt: skip

    def __init__(self, core: "Core", replica: Replica) -> None:
        self.id = replica.id
        self.ready = replica.state is ReplicaState.READY
        self.outstanding = 0
        """Requests given to it and not yet over. Changed by `Exchange` alone."""
        self.suspect_until = 0.0
        self.consecutive_failures = 0
        self.last_success_at: float | None = None
        self.last_failure_at: float | None = None
        self.last_failure = ""
        host = f"[{replica.host}]" if ":" in replica.host else replica.host
        self.host_header = f" HTTP/1.1\r\nHost: {host}:{replica.port}\r\n".encode()
        """What follows the target in every request to this replica."""
        self.pool = Pool(core, self, replica.host, replica.port)

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

    __slots__ = ("names", "replicas", "rotation", "route", "waiting")

    def __init__(self, route: ModelRoute) -> None:
        self.route = route
        self.names = frozenset((route.id, *route.names))
        self.replicas: tuple[ReplicaEntry, ...] = ()
        self.rotation = 0
        self.waiting: deque[Exchange] = deque()
        """First come, first served."""

    @property
    def has_ready_replica(self) -> bool:
        """Some replica takes new requests."""
        return any(replica.ready for replica in self.replicas)

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
            model = before_models.pop(route.id, None) or ModelEntry(route)
            model.route = route
            model.names = frozenset((route.id, *route.names))
            model.replicas = tuple(self._replica(replica, before_replicas) for replica in route.replicas)
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

    def _replica(self, replica: Replica, before: dict[str, tuple[Replica, ReplicaEntry]]) -> ReplicaEntry:
        known = before.get(replica.id)
        ready = replica.state is ReplicaState.READY
        if known is not None and (known[0].host, known[0].port) == (replica.host, replica.port):
            entry = before.pop(replica.id)[1]
            if ready and not entry.ready:
                entry.suspect_until = 0.0
            entry.ready = ready
        else:
            entry = ReplicaEntry(self._core, replica)
        self._replicas[replica.id] = (replica, entry)
        return entry

    def _wake(self, model: ModelEntry) -> None:
        gone = self._models.get(model.route.id) is not model
        if not gone and not model.has_ready_replica and model.route.state is not ModelState.STOPPED:
            return
        waiting, model.waiting = model.waiting, deque()
        for exchange in waiting:
            exchange.woken()
