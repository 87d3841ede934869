"""The control plane: hears nodes, judges which of them are there, and is the one place that knows the whole fleet.

A node's silence is counted in *listened* seconds: time in which this process itself was able to hear. Whoever was
stopped, starved or restarted declares nobody lost for that.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import structlog

from modelgrid.decide.joining import clock_problem
from modelgrid.decide.liveness import ListeningClock, liveness
from modelgrid.decide.missing_nodes import on_missing_nodes
from modelgrid.decide.version_skew import skew
from modelgrid.domain.cluster import Orders, Report
from modelgrid.domain.errors import Conflict, ModelGridError, NotFound
from modelgrid.domain.event import Level, Subject
from modelgrid.domain.ids import NodeName
from modelgrid.domain.node import Node, NodeLiveness, NodeStatus
from modelgrid.domain.routing import GatewayReport
from modelgrid.ports.clock import Clock
from modelgrid.ports.store import Store
from modelgrid.services.cluster.intake import Intake
from modelgrid.services.cluster.members import Members, stranger
from modelgrid.services.cluster.orders import OrderBook
from modelgrid.services.events import EventMaker, Notifier
from modelgrid.services.registry import DeploymentRegistry

LOOK_SECONDS = 1.0
REMEMBER_SECONDS = 30.0
"""What nodes said last is written down no oftener: it only serves a start in which they have not spoken yet."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Known:
    """What is known of one node since this control plane started."""

    heard_at: float
    """Listened seconds at the last report, or at the start."""
    liveness: NodeLiveness
    node: Node | None = None
    said: tuple[int, int] | None = None
    """(epoch, sequence) of the last report."""
    gateways: tuple[GatewayReport, ...] = ()
    """What its gateways counted, as it said last."""
    problem: str = ""
    """Why nothing is placed there although it speaks."""
    note: str = ""
    """What is to be mended in time."""
    unwritten: bool = False
    shown: Node | None = None
    """`node` with what is wanted and thought of it; made anew when one of them changed."""
    shown_of: Node | None = None


class ControlPlane:
    """`local` reads the control plane's own node. Everything runs on the event loop."""

    def __init__(
        self,
        *,
        members: Members,
        orders: OrderBook,
        intake: Intake,
        registry: DeploymentRegistry,
        store: Store,
        clock: Clock,
        local: Callable[[], Node],
        status_of: Callable[[NodeName], NodeStatus],
        heartbeat_seconds: float,
        version: str,
    ) -> None:
        self.members = members
        self.orders = orders
        self._intake = intake
        self._registry = registry
        self._store = store
        self._clock = clock
        self._local = local
        self._status_of = status_of
        self._heartbeat_seconds = heartbeat_seconds
        self._version = version
        self._event = EventMaker(clock, Subject.NODE)
        self._known: dict[NodeName, _Known] = {}
        self._listened = ListeningClock().look(clock.monotonic())
        self._written_at = clock.monotonic()
        self.changed = Notifier()
        """A node came, went, or said something that placements depend on."""
        self.on_report: list[Callable[[Report], None]] = []
        """Called with each report that was taken, on the event loop; must not block or raise."""
        self.take_wishes: Callable[[Report], Awaitable[None]] | None = None
        """Acts on what clients of a node asked it for."""

    def load(self) -> None:
        """Begin with what members said last. Until they speak they are suspect: nothing is placed on hearsay."""
        for member in self.members.all():
            self._known[member.name] = _Known(heard_at=0.0, liveness=NodeLiveness.SUSPECT, node=member.node)

    def nodes(self) -> tuple[Node, ...]:
        """Return all nodes of the cluster that have ever spoken, this one first."""
        return (self._local(), *(node for name in sorted(self._known) if (node := self.node(name)) is not None))

    def node(self, name: NodeName) -> Node | None:
        """Return a member as it is now: what it said last, and what is wanted and thought of it."""
        known = self._known.get(name)
        if known is None or known.node is None:
            return None
        status, problem = self._status_of(name), known.problem or known.node.problem
        shown = known.shown
        if (
            shown is None
            or known.shown_of is not known.node
            or (shown.status, shown.liveness, shown.problem) != (status, known.liveness, problem)
        ):
            shown = replace(known.node, status=status, liveness=known.liveness, problem=problem)
            known.shown, known.shown_of = shown, known.node
        return shown

    def note_of(self, name: NodeName) -> str:
        """Return what is to be mended about a node in time, such as its version; empty when there is nothing."""
        known = self._known.get(name)
        return known.note if known is not None else ""

    def gateways_of(self, name: NodeName) -> tuple[GatewayReport, ...]:
        """Return what a member's gateways count, as it said last."""
        known = self._known.get(name)
        return known.gateways if known is not None else ()

    async def heartbeat(self, name: NodeName, report: Report) -> Orders:
        """Take a report of the authenticated node `name`; return its orders.

        A report for another start of this control plane is answered and not taken; the answer says which one this is.
        Raises `Conflict` for a report that speaks for another node, or is not newer than the last one, and
        `Unauthenticated` for a node that has left since it was authenticated."""
        if report.node.name != name:
            log.warning("a node spoke for another", node=name, spoke_for=report.node.name)
            raise Conflict(f"{name} cannot speak for {report.node.name}.", fix="Each node has a credential of its own.")
        member = self.members.find(name)
        if member is None:
            raise stranger()
        known = self._known.setdefault(name, _Known(heard_at=self._listened.seconds, liveness=NodeLiveness.SUSPECT))
        last, said = known.said, (report.epoch, report.sequence)
        if last is not None and said <= last:
            raise Conflict(f"{name} has said something newer already.", fix="Two daemons may run with one identity.")
        verdict = skew(self._version, report.version)
        if not verdict.ok:
            self._refuse(name, known, verdict.note)
        if report.to != self.orders.epoch:  # for one that was here before: it may be a recording, and proves no life
            return self.orders.of(name)
        self._listened = self._listened.look(self._clock.monotonic())  # its silence begins now, not at the last look
        known.heard_at = self._listened.seconds
        now = self._clock.now()
        problem = clock_problem(report.at - now)
        fresh = replace(report.node, heartbeat_at=now)
        news = last is None or known.node is None or problem != known.problem or _differs(known.node, fresh)
        known.problem, known.note = problem, verdict.note
        known.node, known.said, known.gateways, known.unwritten = fresh, said, report.gateways, True
        await self._judge(name, known)
        if member.node is None:  # a start that follows soon has to know that there is such a node
            await self.members.remember([fresh])
        await self._intake.take(
            report, self.orders.on(name), lambda item: self.orders.has_removed(name, item, report.obeyed)
        )
        for listener in self.on_report:
            listener(report)
        if self.take_wishes is not None:
            await self.take_wishes(report)
        if news:
            self.changed.notify()
        taken = await self._intake.take_events(report)
        credential = await self.members.renewed(name)
        orders = self.orders.of(name)
        unchanged = report.may_omit and report.obeyed == (orders.epoch, orders.sequence)
        return replace(
            orders,
            orders=() if unchanged else orders.orders,
            unchanged=unchanged,
            heard=report.sequence,
            events_taken=taken,
            credential=credential,
        )

    def _refuse(self, name: NodeName, known: _Known, why: str) -> NoReturn:
        """Take nothing of what a node says, tell it why, and show why it is not heard."""
        if known.problem != why:
            log.warning("reports of a node are refused", node=name, reason=why)
            known.problem = why
            self.changed.notify()
        raise Conflict(why)

    async def run(self) -> None:
        """Judge silence every second and write down what nodes said every 30, until cancelled."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except ModelGridError as error:
                log.warning("state of nodes not written", error=str(error))

    async def look(self) -> None:
        """Count the time since the last look as far as we were listening, and judge every node by it."""
        now = self._clock.monotonic()
        self._listened = self._listened.look(now)
        for name, known in self._known.items():
            await self._judge(name, known)
        await self._archive_of_the_gone()
        if now - self._written_at >= REMEMBER_SECONDS:
            self._written_at = now
            due = [known for known in self._known.values() if known.unwritten and known.node is not None]
            await self.members.remember([known.node for known in due if known.node is not None])
            for known in due:
                known.unwritten = False

    async def remove(self, name: NodeName, *, by: str, force: bool = False) -> None:
        """Take a node out of the cluster. What was placed there is dismissed; its targets are served elsewhere.

        Raises `NotFound`; `Conflict` for one that is there and has deployments, unless `force`d: drain it first."""
        if name == self._local().name:
            raise Conflict("This is the control plane itself.", fix="Make another node the control plane first.")
        if self.members.find(name) is None:
            raise NotFound(f"There is no node {name!r} in the cluster.", fix="`modelgrid cluster nodes` lists them.")
        known, placed = self._known.get(name), self.orders.on(name)
        if not force and placed and known is not None and known.liveness is not NodeLiveness.LOST:
            raise Conflict(
                f"{name} still has {len(placed)} deployment{'s' * (len(placed) != 1)}.",
                fix=f"Drain it first (`modelgrid cluster drain {name}`), or remove it with force.",
                deployments=sorted(placed),
            )
        await self.members.remove(name, by=by, reason="removed from the cluster")
        self._known.pop(name, None)
        self.orders.forget(name)  # before its rows go: it must not hear that nothing is wanted of it any more
        await self._archive_of_the_gone()
        self.changed.notify()

    async def _judge(self, name: NodeName, known: _Known) -> None:
        silent = self._listened.silence(known.heard_at)
        found = liveness(silent, self._heartbeat_seconds)
        if known.said is None and found is NodeLiveness.READY:
            found = NodeLiveness.SUSPECT  # not heard since we started
        if found is known.liveness:
            return
        before, known.liveness = known.liveness, found
        level = Level.INFO if found is NodeLiveness.READY else Level.WARNING
        said = f"{found} (was {before})" + (f": silent for {silent:.0f} s" if found is not NodeLiveness.READY else "")
        tell = log.warning if level is Level.WARNING else log.info
        tell("node changed", node=name, liveness=found.value, was=before.value)
        self.changed.notify()
        await self._store.add_events([self._event(name, f"node_{found}", said, level=level)])

    async def _archive_of_the_gone(self) -> None:
        """End the rows of deployments whose node is no member any more: nobody else would."""
        here = {self._local().name, *(member.name for member in self.members.all())}
        for row, node in on_missing_nodes(self._registry.all(), here):
            await self._intake.archive(row, None, f"{node} left the cluster")


def _differs(before: Node, after: Node) -> bool:
    """Whether a node says something that placements depend on: readings that only drift a little are not news."""

    def shape(node: Node) -> Sequence[object]:
        free = tuple((gpu.id, gpu.vram_total_bytes, gpu.vram_free_bytes // 2**28) for gpu in node.inventory.gpus)
        return (node.runtimes, node.labels, node.assignments, node.inventory.stale, free, node.role, node.advertise_url)

    return shape(before) != shape(after)
