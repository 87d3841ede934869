"""The routing table as live objects: models, replicas with their connections, requests that wait.

Replicas and models keep their objects from table to table (same id, same address), and with them counts, connections
and queues.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelgrid.decide.route import choose
from modelgrid.domain.routing import ModelRoute, Replica, RoutingTable
from modelgrid.gateway.affinity import Prompt
from modelgrid.gateway.line import WaitingLine
from modelgrid.gateway.replica import ReplicaEntry

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core


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

    def pick(self, now: float, tried: frozenset[str], prompt: Prompt, session: bytes) -> ReplicaEntry | None:
        """Return the replica for a request that has not been to any of `tried`; `now`: the loop's clock."""
        self.rotation += 1
        replicas, blocks = self.replicas, prompt.blocks
        if not blocks or len(replicas) < 2:
            return choose(replicas, now=now, rotation=self.rotation, tried=tried, session=session)
        cached = {replica.id: replica.prefixes.known(blocks) for replica in replicas}
        return choose(
            replicas, now=now, rotation=self.rotation, tried=tried, blocks=len(blocks), cached=cached, session=session
        )


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
        if known is not None and (known[0].host, known[0].port) == (replica.host, replica.port):
            entry = before.pop(replica.id)[1]
            entry.update(replica)
        else:
            entry = ReplicaEntry(self._core, replica, line)
        self._replicas[replica.id] = (replica, entry)
        return entry

    def _wake(self, model: ModelEntry) -> None:
        model.line.advance()
        for exchange in model.line.everyone():
            exchange.table_changed()
