"""The routing table as live objects: models, replicas with their connections, requests that wait.

Replicas and models keep their objects from table to table (same id, same address), and with them counts, connections
and queues.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from modelgrid.decide.route import choose
from modelgrid.domain.routing import ModelRoute, ModelState, Replica, RoutingTable
from modelgrid.gateway.affinity import MARKS, Prompt
from modelgrid.gateway.line import WaitingLine
from modelgrid.gateway.remote import RemoteReplica
from modelgrid.gateway.replica import ReplicaEntry

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core

_DESIRED: Final = (ModelState.STARTING, ModelState.READY)
_COMING: Final = (ModelState.STARTING, ModelState.ON_REQUEST)


class ModelEntry:
    """One model and the requests that wait for it."""

    __slots__ = ("_core", "line", "local", "names", "replicas", "rotation", "route")

    def __init__(self, core: "Core", route: ModelRoute) -> None:
        self._core = core
        self.route = route
        self.names = frozenset((route.id, *route.names))
        self.replicas: tuple[ReplicaEntry, ...] = ()
        self.local: tuple[ReplicaEntry, ...] = ()
        """Those on this node."""
        self.rotation = 0
        self.line = WaitingLine(core, self)

    @property
    def has_ready_replica(self) -> bool:
        """Some replica takes new requests."""
        return any(replica.ready for replica in self.replicas)

    @property
    def out_of_reach(self) -> bool:
        """It runs, and only on nodes to which no way leads from here."""
        return self.route.state is ModelState.READY and not self.has_ready_replica

    @property
    def has_place(self) -> bool:
        """Some replica would be chosen for a request."""
        return self.has_place_but()

    def has_place_but(self, tried: frozenset[str] = frozenset()) -> bool:
        """Some replica would be chosen for a request that has been to `tried`."""
        return choose(self.replicas, now=self._core.deadlines.clock, rotation=0, tried=tried) is not None

    def may_serve(self, tried: frozenset[str]) -> bool:
        """Whether a replica that is not in `tried` is there, or on its way."""
        if self._core.fleet.find(self.route.id) is not self:
            return False
        if tried:
            return any(replica.ready and replica.id not in tried for replica in self.replicas)
        return self.has_ready_replica or self.route.state in _COMING

    def pick(
        self,
        now: float,
        tried: frozenset[str],
        prompt: Prompt,
        session: bytes,
        among: tuple[ReplicaEntry, ...] | None = None,
    ) -> ReplicaEntry | None:
        """Return the replica for a request that has not been to any of `tried`; `now`: the loop's clock; `among`: the
        ones that may be asked, all when None."""
        self.rotation += 1
        replicas, marks = self.replicas if among is None else among, prompt.marks
        if not marks or len(replicas) < 2:
            return choose(replicas, now=now, rotation=self.rotation, tried=tried, session=session)
        cached = {replica.id: replica.prefixes.known(marks) for replica in replicas}
        return choose(
            replicas,
            now=now,
            rotation=self.rotation,
            tried=tried,
            blocks=MARKS[len(marks)],
            cached=cached,
            session=session,
        )


class Fleet:
    """All models and replicas of the newest table."""

    def __init__(self, core: "Core") -> None:
        self._core = core
        self._models: dict[str, ModelEntry] = {}
        self._names: dict[str, ModelEntry] = {}
        self._replicas: dict[str, ReplicaEntry] = {}

    def find(self, name: str) -> ModelEntry | None:
        """Return the model with the id or alias `name`."""
        return self._names.get(name)

    def models(self) -> Iterator[ModelEntry]:
        """Return all models in the order of the table."""
        return iter(self._models.values())

    def replicas(self) -> Iterator[ReplicaEntry]:
        """Return all replicas of the table."""
        return iter(self._replicas.values())

    def apply(self, table: RoutingTable) -> None:
        """Replace the old table and let waiting requests go where they now can."""
        before_models, before_replicas = self._models, self._replicas
        self._models, self._names, self._replicas = {}, {}, {}
        removed: list[ModelEntry] = []
        """From what is to run. A request would bring them back, and those who wait asked before."""
        for route in table.models:
            model = before_models.pop(route.id, None) or ModelEntry(self._core, route)
            if route.state is ModelState.ON_REQUEST and model.route.state in _DESIRED:
                removed.append(model)
            model.route = route
            model.names = frozenset((route.id, *route.names))
            model.replicas = tuple(
                self._replica(replica, before_replicas, model.line, local=replica.node in {"", table.node})
                for replica in route.replicas
            )
            model.local = tuple(replica for replica in model.replicas if not isinstance(replica, RemoteReplica))
            self._models[route.id] = model
            for name in (route.id, *route.names):
                self._names.setdefault(name, model)
        for entry in before_replicas.values():
            entry.leave()
        for model in (*before_models.values(), *self._models.values()):
            self._wake(model, removed=model in removed)

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
        self, replica: Replica, before: dict[str, ReplicaEntry], line: WaitingLine, *, local: bool
    ) -> ReplicaEntry:
        way = None if local else self._core.ways.get(replica.node)
        known = before.get(replica.id)
        if known is not None and known.place == ((replica.host, replica.port) if local else way):
            entry = before.pop(replica.id)
            entry.update(replica)
        elif local:
            entry = ReplicaEntry(self._core, replica, line)
        else:
            entry = RemoteReplica(self._core, replica, line, way)
        self._replicas[replica.id] = entry
        return entry

    def _wake(self, model: ModelEntry, *, removed: bool) -> None:
        model.line.advance()
        for exchange in model.line.everyone():
            exchange.table_changed(removed=removed)
