"""What may still be given away, kept in order of size: the index in which `fit` looks for places. Pure.

It says nothing that nodes and promises do not say, and is kept from one pass to the next only because most of a cluster
stays as it is: facts are values that nobody changes in place, so `update` looks at what is another object than before.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from modelgrid.decide.fit_rules import FitRequest, NodeRule, closed_node, closed_verdict, runtime_on
from modelgrid.decide.promises import Device, Promise, Promises, available_bytes, holds_place, places, promises
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.gpu import Gpu, GpuVendor
from modelgrid.domain.ids import DeploymentId, GpuId, NodeName
from modelgrid.domain.node import Node
from modelgrid.domain.placement import Decision, Verdict
from modelgrid.domain.target import RuntimeKind

Entry = tuple[int, NodeName, GpuVendor, int, GpuId]
"""A GPU on a shelf: available bytes first, then in the order of names. So entries come in the order in which `fit`
prefers them."""
MANY = 4
"""When more than the fourth part of all nodes changed, orders are made anew instead of being mended. With heartbeats
every 5 s a fifth of them says something in a second."""
MOST_VIEWS = 16
"""Kept at a time. Most targets have no constraints, and share one."""


@dataclass(frozen=True, slots=True)
class Room:
    """A GPU and what is left of it."""

    gpu: Gpu
    held: tuple[Promise, ...]
    available: int

    @property
    def whole(self) -> bool:
        """Whether somebody has it for itself."""
        return any(promise.exclusive for promise in self.held)

    @property
    def shape(self) -> tuple[object, ...]:
        gpu = self.gpu
        kind = (gpu.id, gpu.vendor, gpu.index, gpu.name, gpu.vram_total_bytes, gpu.simulated, gpu.mig_enabled)
        return (*kind, self.available, bool(self.held), self.whole)

    def entry(self, node: NodeName) -> Entry:
        return self.available, node, self.gpu.vendor, self.gpu.index, self.gpu.id


class Site:
    """A node and what is left of it. `rooms` are in the order of vendor and index."""

    __slots__ = ("host_available", "host_held", "node", "rooms")

    def __init__(self, node: Node, promises: Promises) -> None:
        self.node = node
        self.host_held = promises.on(node.name, None)
        self.host_available = available_bytes(node, None, self.host_held)
        self.rooms = []
        for gpu in sorted(node.inventory.gpus, key=lambda gpu: (gpu.vendor, gpu.index, gpu.id)):
            held = promises.on(node.name, gpu.id)
            self.rooms.append(Room(gpu, held, available_bytes(node, gpu, held)))

    @property
    def available(self) -> int:
        """Bytes left on all its GPUs."""
        return sum(room.available for room in self.rooms)

    def is_like(self, other: "Site") -> bool:
        """Whether whatever can be placed here could be placed there likewise, and would leave as much over."""
        if (self.node.assignments, self.node.inventory.stale) != (other.node.assignments, other.node.inventory.stale):
            return False
        return [room.shape for room in self.rooms] == [room.shape for room in other.rooms]

    def held(self) -> Iterator[tuple[Device, tuple[Promise, ...]]]:
        yield (self.node.name, None), self.host_held
        for room in self.rooms:
            yield (self.node.name, room.gpu.id), room.held


@dataclass(slots=True)
class Shelf:
    """GPUs of one kind that one and the same rule speaks against, or none."""

    device: Gpu
    """One of them; all are alike in what `fit` looks at."""
    kept_for: str | None
    """By `gpus.assignments`."""
    code: str
    """Of a rule that holds whoever asks; empty: it depends."""
    empty: list[Entry] = field(default_factory=list)
    shared: list[Entry] = field(default_factory=list)
    """Somebody is there, and not for itself."""
    whole: list[Entry] = field(default_factory=list)

    def of(self, room: Room) -> list[Entry]:
        if not room.held:
            return self.empty
        return self.whole if room.whole else self.shared

    def __len__(self) -> int:
        return len(self.empty) + len(self.shared) + len(self.whole)


class View:
    """The nodes that may be used by requests with one and the same wish for a node, labels and a runtime."""

    def __init__(self, request: FitRequest, sites: Iterable[Site]) -> None:
        self._request = request
        self.closed: dict[NodeName, tuple[Node, NodeRule]] = {}
        self.sites: dict[NodeName, Site] = {}
        self.shelves: dict[tuple[object, ...], Shelf] = {}
        self.hosts: list[tuple[int, NodeName]] = []
        """Host memory left, the most first: negative bytes and the name."""
        for site in sites:
            self._add(site)
        for shelf in self.shelves.values():
            for entries in (shelf.empty, shelf.shared, shelf.whole):
                entries.sort()
        self.hosts.sort()

    @cached_property
    def names(self) -> list[NodeName]:
        """Of the nodes that may be used, in order."""
        return sorted(self.sites)

    @cached_property
    def closed_by_code(self) -> Counter[str]:
        """Number of nodes that may not be used, by the code of the rule that says so."""
        return Counter(rule.code for _, rule in self.closed.values())

    @cached_property
    def _closed_names(self) -> list[NodeName]:
        return sorted(self.closed)

    def closed_verdicts(self, most: int | None = None) -> list[Verdict]:
        """Return why nodes may not be used, the first `most` in the order of names."""
        return [closed_verdict(self._request, *self.closed[name]) for name in self._closed_names[:most]]

    @cached_property
    def bare(self) -> list[NodeName]:
        """Of those without any GPU, in order."""
        return [name for name in self.names if not self.sites[name].rooms]

    @cached_property
    def most_gpus(self) -> int:
        """Of the largest node."""
        return max((len(site.rooms) for site in self.sites.values()), default=0)

    @cached_property
    def by_room(self) -> list[tuple[int, NodeName]]:
        """Bytes left on all GPUs of a node and its name, the least first: made when somebody packs."""
        return sorted((site.available, name) for name, site in self.sites.items())

    def _add(self, site: Site) -> None:
        name = site.node.name
        rule = closed_node(self._request, site.node)
        if rule is not None:
            self.closed[name] = (site.node, rule)
            return
        self.sites[name] = site
        self.hosts.append((-site.host_available, name))
        for room in site.rooms:
            shelf = self._shelf(site.node, room)
            shelf.of(room).append(room.entry(name))

    def replace(self, before: Site | None, after: Site | None) -> None:
        """Take over that a node is another one now."""
        if before is not None and after is not None and self._is_mended(before, after):
            return
        for derived in ("names", "closed_by_code", "_closed_names", "bare", "most_gpus", "by_room"):
            self.__dict__.pop(derived, None)
        if before is not None:
            name = before.node.name
            if self.closed.pop(name, None) is None:
                del self.sites[name]
                _remove(self.hosts, (-before.host_available, name))
                for room in before.rooms:
                    _remove(self._shelf(before.node, room).of(room), room.entry(name))
        if after is not None:
            name = after.node.name
            rule = closed_node(self._request, after.node)
            if rule is not None:
                self.closed[name] = (after.node, rule)
                return
            self.sites[name] = after
            insort(self.hosts, (-after.host_available, name))
            for room in after.rooms:
                insort(self._shelf(after.node, room).of(room), room.entry(name))

    def _is_mended(self, before: Site, after: Site) -> bool:
        """Take over what a node says that is open and has the GPUs that it had: most have as much left as before.
        Return whether it is one."""
        name = after.node.name
        if name not in self.sites or len(before.rooms) != len(after.rooms):
            return False
        if closed_node(self._request, after.node) is not None:
            return False
        self.sites[name] = after
        self.__dict__.pop("by_room", None)
        self.given_on_host(name, before.host_available, after.host_available)
        for was, room in zip(before.rooms, after.rooms, strict=True):
            entry, new = was.entry(name), room.entry(name)
            entries, others = self._shelf(before.node, was).of(was), self._shelf(after.node, room).of(room)
            if entry != new or entries is not others:
                _remove(entries, entry)
                insort(others, new)
        return True

    def given(self, site: Site, before: Room, after: Room) -> None:
        """Take over that less is left of one GPU."""
        name = site.node.name
        if name not in self.sites:
            return
        shelf = self._shelf(site.node, before)
        _remove(shelf.of(before), before.entry(name))
        insort(shelf.of(after), after.entry(name))
        if "by_room" in self.__dict__:
            room = site.available
            _remove(self.by_room, (room + before.available - after.available, name))
            insort(self.by_room, (room, name))

    def given_on_host(self, name: NodeName, before: int, after: int) -> None:
        """Take over that less is left of a node's host memory."""
        if name in self.sites and before != after:
            _remove(self.hosts, (-before, name))
            insort(self.hosts, (-after, name))

    def _shelf(self, node: Node, room: Room) -> Shelf:
        gpu = room.gpu
        kept_for = node.assignments.get(gpu.id) if node.assignments else None
        code = ""
        if gpu.simulated and self._runtime(node) is not RuntimeKind.SIMULATED:
            code = "gpu_simulated"
        elif gpu.mig_enabled:
            code = "mig_enabled"
        elif node.inventory.stale:
            code = "inventory_stale"
        key = (gpu.vendor, gpu.name, gpu.vram_total_bytes, gpu.simulated, kept_for, code)
        shelf = self.shelves.get(key)
        if shelf is None:
            shelf = self.shelves[key] = Shelf(gpu, kept_for, code)
        return shelf

    def _runtime(self, node: Node) -> RuntimeKind:
        return runtime_on(self._request.spec, node, self._request.runtime)


def _remove(entries: list, entry: tuple) -> None:  # type: ignore[type-arg]  # of any kind that has an order
    position = bisect_left(entries, entry)
    if entries[position] != entry:
        raise AssertionError(f"{entry} is not where its order puts it")
    del entries[position]


NOTHING = Promises()


class Capacity:
    """All nodes of the cluster with what is left of them."""

    def __init__(self, nodes: Iterable[Node] = (), held: Promises = NOTHING) -> None:
        self._sites = {node.name: Site(node, held) for node in nodes}
        self._views: dict[tuple[object, ...], View] = {}
        self._rows: dict[DeploymentId, Deployment] = {}
        self._holders: dict[NodeName, dict[DeploymentId, Deployment]] = {}
        self._given: set[NodeName] = set()

    def site(self, name: NodeName) -> Site | None:
        return self._sites.get(name)

    def update(self, nodes: Sequence[Node], deployments: Sequence[Deployment]) -> None:
        """Be what these facts say. What was given since the last update is taken back, unless they say it, too."""
        changed = self._take_over(deployments) | self._given
        self._given = set()
        here = {node.name for node in nodes}
        moves: list[tuple[Site | None, Site | None]] = []
        for name in self._sites.keys() - here:
            moves.append((self._sites.pop(name), None))
        for node in nodes:
            before = self._sites.get(node.name)
            if before is None or before.node is not node or node.name in changed:
                after = self._sites[node.name] = Site(node, promises(self._holders.get(node.name, {}).values(), [node]))
                moves.append((before, after))
        if len(moves) * MANY > len(self._sites):
            self._views.clear()
            return
        for view in self._views.values():
            for before, site in moves:
                view.replace(before, site)

    def _take_over(self, deployments: Sequence[Deployment]) -> set[NodeName]:
        """Note who holds a place; return the nodes on which that is not as before."""
        known, self._rows = self._rows, {row.id: row for row in deployments}
        changed = set()
        for row in deployments:
            before = known.pop(row.id, None)
            if before is row:
                continue
            if before is not None:
                changed |= self._let_go(before)
            if row.placement is not None and holds_place(row):
                self._holders.setdefault(row.placement.node, {})[row.id] = row
                changed.add(row.placement.node)
        for row in known.values():
            changed |= self._let_go(row)
        return changed

    def _let_go(self, row: Deployment) -> set[NodeName]:
        if row.placement is None or not holds_place(row):
            return set()
        del self._holders[row.placement.node][row.id]
        return {row.placement.node}

    def give(self, holder: str, decision: Decision) -> None:
        """Book one more: what `decision` gives to `holder`, not measured yet."""
        site = self._sites.get(decision.node) if decision.node is not None else None
        if site is None:
            return
        self._given.add(site.node.name)
        node = site.node
        for (_, gpu_id), promise in places(holder, decision.need, node.name, decision.gpus, node.inventory.gpus):
            if gpu_id is None:
                before = site.host_available
                site.host_held = (*site.host_held, promise)
                site.host_available = available_bytes(node, None, site.host_held)
                for view in self._views.values():
                    view.given_on_host(node.name, before, site.host_available)
                continue
            for position, room in enumerate(site.rooms):
                if room.gpu.id == gpu_id:
                    held = (*room.held, promise)
                    after = Room(room.gpu, held, available_bytes(node, room.gpu, held))
                    site.rooms[position] = after
                    for view in self._views.values():
                        view.given(site, room, after)

    def view(self, request: FitRequest) -> View:
        """Return the nodes that `request` may use."""
        wish, spec = request.constraints, request.spec
        labels = tuple(sorted(wish.labels.items()))
        key = (wish.node, labels, request.runtime, spec.runtime, bool(spec.url))
        view = self._views.get(key)
        if view is None:
            if len(self._views) >= MOST_VIEWS:
                del self._views[next(iter(self._views))]
            view = self._views[key] = View(request, self._sites.values())
        return view

    def promises_on(self, names: Iterable[NodeName]) -> Promises:
        """Return what is held on some nodes, what was given included."""
        sites = (site for name in sorted(names) if (site := self._sites.get(name)) is not None)
        return Promises(by_device={device: held for site in sites for device, held in site.held() if held})
